"""Reads a Maildir by Python's mailbox: mailbox_read.py MAILDIR COPY

The only message is copied out; then it is read and flagged, as a mail program would do it.
"""
import mailbox
import sys
from pathlib import Path

maildir = mailbox.Maildir(sys.argv[1], create=False)
((key, message),) = maildir.items()
assert message.get_subdir() == "new" and message.get_flags() == "", (key, message.get_flags())
Path(sys.argv[2]).write_bytes(maildir.get_bytes(key))
message.set_subdir("cur")
message.set_flags("FS")
maildir[key] = message
maildir.close()
print(key)
