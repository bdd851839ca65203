"""Sends by Python's smtplib: smtplib_send.py PORT SUBJECT TEXT ATTACHMENT

The sender's address needs SMTPUTF8, so send_message() asks for it, and sends headers in UTF-8.
"""
import smtplib
import sys
from email.message import EmailMessage
from pathlib import Path

port, subject, text, attachment = sys.argv[1:]
message = EmailMessage()
message["From"] = "jürgen@client.test"
message["To"] = "ann@mx.test"
message["Subject"] = subject
message.set_content(Path(text).read_text("utf-8"))
octets = Path(attachment).read_bytes()
message.add_attachment(octets, maintype="application", subtype="octet-stream", filename="octets.bin")
with smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.test", timeout=30) as client:
    client.set_debuglevel(1)
    client.send_message(message)
