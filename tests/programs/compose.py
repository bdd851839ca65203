"""Composes a message as a program would hand it over: compose.py SUBJECT TEXT ATTACHMENT > MESSAGE

Lines end in LF. The text goes as it is, with 8 bits and lines of any length; the attachment in base64.
"""
import sys
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

subject, text, attachment = sys.argv[1:]
message = EmailMessage()
message["Date"] = "Mon, 23 Nov 2026 13:45:07 +0000"
message["From"] = "sender@client.test"
message["To"] = "ann@mx.test"
message["Message-ID"] = "<composed@client.test>"
message["Subject"] = subject
message.set_content(Path(text).read_text("utf-8"), cte="8bit")
octets = Path(attachment).read_bytes()
message.add_attachment(octets, maintype="application", subtype="octet-stream", filename="octets.bin")
sys.stdout.buffer.write(message.as_bytes(policy=default))
