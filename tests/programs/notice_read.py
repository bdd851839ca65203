"""Reads a notice as a program would: notice_read.py NOTICE ORIGINAL > JSON

Writes the returned message to that file, and says what the parts are, the text, and the fields of the
report, a block for the message and one for each recipient.
"""
import email
import json
import sys
from email.policy import default
from pathlib import Path

source, target = sys.argv[1:]
octets = Path(source).read_bytes()
message = email.message_from_bytes(octets, policy=default)
assert not [part.defects for part in message.walk() if part.defects]
assert message.get_content_type() == "multipart/report", message.get_content_type()
assert message.get_param("report-type") == "delivery-status"
text, report, original = message.iter_parts()
# By the older policy, which changes no octet of it.
returned = email.message_from_bytes(octets).get_payload(2).get_payload(0)
Path(target).write_bytes(returned.as_bytes())
print(json.dumps({
    "subject": message["Subject"],
    "from": message["From"],
    "parts": [part.get_content_type() for part in (text, report, original)],
    "text": text.get_content(),
    "report": [dict(block.items()) for block in report.get_payload()],
}))
