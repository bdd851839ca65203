"""What dkimpy makes of messages in JSON on standard input, their lines ending in LF.

{"keys": {name: record, ...}, "works": [...]}, each work one of
    {"sign": message, "key": PEM or base64, "type": "rsa" or "ed25519", "forms": [header, body], "length": bool}
    {"verify": message}
One line a work, in JSON: the signature field, or whether the first signature holds.
"""

import json
import sys

import dkim
import nacl.signing  # What dkimpy needs for Ed25519.

given = json.load(sys.stdin)


def look_up(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return given["keys"].get(name.rstrip("."), "").encode()


def wire(text):
    return text.encode("latin-1").replace(b"\n", b"\r\n")


for work in given["works"]:
    if "sign" in work:
        kind = work["type"]
        field = dkim.sign(
            wire(work["sign"]), kind.encode(), b"a.test", work["key"].encode(),
            canonicalize=tuple(form.encode() for form in work["forms"]),
            signature_algorithm=b"ed25519-sha256" if kind == "ed25519" else b"rsa-sha256",
            length=work["length"],
        )
        print(json.dumps(field.decode("latin-1").replace("\r\n", "\n")))
    else:
        try:
            print(json.dumps(dkim.DKIM(wire(work["verify"])).verify(dnsfunc=look_up)))
        except dkim.DKIMException:
            print("false")
