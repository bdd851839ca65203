"""Whether two messages read the same: same_mail.py MESSAGE CONVERTED > text of the second

Header fields that people read, types of the parts and their octets, but for Content-Transfer-Encoding; the second
must have 7 bits.
"""
import email
import sys
from email.header import decode_header, make_header
from email.policy import compat32
from pathlib import Path


def read(path):
    message = email.message_from_bytes(Path(path).read_bytes(), policy=compat32)
    seen = []
    for part in message.walk():
        name = part.get_filename()
        body = None if part.is_multipart() else part.get_payload(decode=True)
        seen.append((part.get_content_type(), name, body))
    subject = message["Subject"]
    if isinstance(subject, str):
        subject = str(make_header(decode_header(subject)))
    return str(subject), seen


first, second = sys.argv[1:]
assert Path(second).read_bytes().isascii()
(_, before), (subject, after) = read(first), read(second)
assert [kind for kind, _, _ in before] == [kind for kind, _, _ in after], (before, after)
assert [body for _, _, body in before] == [body for _, _, body in after], (before, after)
print(subject, *[name for _, name, _ in after if name])
