"""Submits by Python's smtplib: smtplib_submit.py PORT starttls|tls AUTHORITY

Logs in by each way that smtplib and the server both know, in a session of its own.
"""
import smtplib
import ssl
import sys

port, way, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.check_hostname = False  # the certificate is for mx.test, which no resolver here knows
for mechanism in ["PLAIN", "LOGIN"]:
    if way == "tls":
        client = smtplib.SMTP_SSL("127.0.0.1", int(port), "client.test", timeout=60, context=context)
    else:
        client = smtplib.SMTP("127.0.0.1", int(port), "client.test", timeout=60)
        client.starttls(context=context)
    client.set_debuglevel(1)
    client.ehlo()
    assert mechanism in client.esmtp_features["auth"].split(), client.esmtp_features
    client.esmtp_features["auth"] = mechanism
    client.login("ann@mx.test", "pencil")
    client.sendmail("ann@mx.test", ["eve@far.test"], "Subject: submitted\n\nHello.\n")
    client.quit()
