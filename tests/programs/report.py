"""Takes a notice apart, as a bounce processor would: report.py NOTICE RETURNED > JSON

Says what its header, its text and its delivery status say, and writes the octets of what it returns
to that file. Nothing in it may be a defect to Python.
"""
import email
import json
import re
import sys
from email.policy import default
from pathlib import Path

# What a part holds is written out as it was read: not refolded, not encoded anew.
POLICY = default.clone(refold_source="none", cte_type="8bit", max_line_length=None)


def fields(message):
    return [[name, re.sub(r"\n(?=[ \t])", "", str(value))] for name, value in message.items()]


def blocks(part):
    """Fields of the message, then of each recipient."""
    payload = part.get_payload()
    if part.get_content_type() == "message/delivery-status":
        return [fields(block) for block in payload]
    # Python does not know this type, and takes it for one message whose text is the rest.
    (first,) = payload
    rest = first.get_payload(decode=True).decode().rstrip("\n").split("\n\n")
    return [fields(first)] + [fields(email.message_from_string(b, policy=POLICY)) for b in rest]


def octets(part):
    if part.get_content_maintype() == "message":
        return part.get_payload(0).as_bytes()
    return part.get_payload(decode=True)


source, target = sys.argv[1:]
notice = email.message_from_bytes(Path(source).read_bytes(), policy=POLICY)
assert notice.get_content_type() == "multipart/report", notice.get_content_type()
assert not notice.preamble and not notice.epilogue
text, status, returned = notice.get_payload()
for part in (notice, text, status, returned):
    assert not part.defects, part.defects
Path(target).write_bytes(octets(returned))
print(json.dumps({
    "header": dict(fields(notice)),
    "report_type": notice.get_param("report-type"),
    "types": [part.get_content_type() for part in (text, status, returned)],
    "encodings": [str(part["Content-Transfer-Encoding"]) for part in (text, status, returned)],
    "text": text.get_content(),
    "blocks": blocks(status),
}))
