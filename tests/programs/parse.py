"""Takes a message apart, as a reader would: parse.py MESSAGE ATTACHMENT > JSON

Writes the octets of the only attachment to that file, and says what the subject and the text are.
"""
import email
import json
import sys
from email.policy import default
from pathlib import Path

source, target = sys.argv[1:]
message = email.message_from_bytes(Path(source).read_bytes(), policy=default)
(attachment,) = [part for part in message.walk() if part.get_content_disposition() == "attachment"]
Path(target).write_bytes(attachment.get_payload(decode=True))
text = message.get_body(("plain",)).get_content()
print(json.dumps({"subject": message["Subject"], "text": text}))
