"""What dkimpy makes of messages in JSON on standard input, their lines ending in LF.

{"keys": {name: record, ...}, "works": [...]}, each work one of
    {"sign": message, "key": PEM or base64, "type": "rsa" or "ed25519", "forms": [header, body], "length": bool}
        and, where it is not as usual: "selector", "algorithm", "identity", "headers" (names), "tags" (pairs)
    {"verify": message} and, where it is not the first signature: "index"
One line a work, in JSON: the signature field, or whether the signature holds.
"""

import json
import sys

import dkim
import nacl.signing  # What dkimpy needs for Ed25519.

given = json.load(sys.stdin)


def look_up(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return given["keys"].get(name.rstrip("."), "").encode()


class Signing(dkim.DKIM):
    tags = []

    def gen_header(self, fields, *others, **named):
        more = [(name.encode(), value.encode()) for name, value in self.tags]
        return super().gen_header(fields[:-2] + more + fields[-2:], *others, **named)


def wire(text):
    return text.encode("latin-1").replace(b"\n", b"\r\n")


for work in given["works"]:
    if "sign" in work:
        kind = work["type"]
        usual = "ed25519-sha256" if kind == "ed25519" else "rsa-sha256"
        signing = Signing(wire(work["sign"]), signature_algorithm=work.get("algorithm", usual).encode())
        signing.tags = work.get("tags", [])
        identity, headers = work.get("identity"), work.get("headers")
        if headers:
            signing.should_sign = set()
        field = signing.sign(
            work.get("selector", kind).encode(), b"a.test", work["key"].encode(),
            canonicalize=tuple(form.encode() for form in work["forms"]),
            identity=identity and identity.encode(), length=work["length"],
            include_headers=headers and [name.encode() for name in headers],
        )
        print(json.dumps(field.decode("latin-1").replace("\r\n", "\n")))
    else:
        try:
            print(json.dumps(dkim.DKIM(wire(work["verify"])).verify(idx=work.get("index", 0), dnsfunc=look_up)))
        except dkim.DKIMException:
            print("false")
