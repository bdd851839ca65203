"""Submits the file `message` by Python's smtplib: smtplib_submit.py PORT starttls|tls MECHANISM

Believes authority.pem alone, and logs in as smtplib does when the server knows that mechanism only.
"""
import smtplib
import ssl
import sys
from pathlib import Path

port, way, mechanism = sys.argv[1:]
context = ssl.create_default_context(cafile="authority.pem")
context.check_hostname = False  # the certificate is for mx.test, which no resolver here knows
if way == "tls":
    client = smtplib.SMTP_SSL("127.0.0.1", int(port), "client.test", timeout=60, context=context)
else:
    client = smtplib.SMTP("127.0.0.1", int(port), "client.test", timeout=60)
client.set_debuglevel(1)
if way == "starttls":
    client.starttls(context=context)
client.ehlo()
assert mechanism in client.esmtp_features["auth"].split(), client.esmtp_features
client.esmtp_features["auth"] = mechanism
client.login("ann@mx.test", "pencil")
message = Path("message").read_bytes().replace(b"\n", b"\r\n")
client.sendmail("ann@mx.test", ["bob@mx.test"], message, ["BODY=8BITMIME"])
client.quit()
