"""Logs in by IMAP over TLS, whatever certificate is shown, and prints the subjects in a folder, a line each.

usage: imap_subjects.py HOST USER PASSWORD FOLDER
"""

import imaplib
import ssl
import sys

host, user, password, folder = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
session = imaplib.IMAP4_SSL(host, 993, ssl_context=context, timeout=60)
session.login(user, password)
status, answer = session.select(folder)
assert status == "OK", answer
if int(answer[0]):
    _, parts = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    for part in parts:
        if isinstance(part, tuple):
            print(part[1].decode().strip().removeprefix("Subject: "))
session.logout()
