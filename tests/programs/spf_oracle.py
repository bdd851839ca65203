"""What pyspf finds for cases in JSON on standard input, over a table in place of DNS.

[{"zone": {name: [[type, value], ...]}, "cases": [{address, helo, sender}, ...]}, ...]
One line a case: the result, a tab, and the explanation where there is one.
"""

import json
import sys

import spf

zone = {}


def look_up(name, qtype, strict=True, timeout=None):
    entries = zone.get(name.lower().rstrip("."), [])
    answers = []
    for kind, value in entries:
        if kind == "TIMEOUT":
            raise spf.TempError("no answer")
        if kind == qtype:
            if kind == "TXT":
                value = [text.encode("latin-1") for text in value]
            if kind == "MX":
                value = tuple(value)
            answers.append(((name, kind), value))
    return answers


spf.DNSLookup = look_up
for work in json.load(sys.stdin):
    zone = {name.lower(): entries for name, entries in work["zone"].items()}
    for case in work["cases"]:
        query = spf.query(case["address"], case["sender"], case["helo"])
        query.set_default_explanation("DEFAULT")
        result, _, explanation = query.check()
        if result != "fail" or explanation == "DEFAULT":
            explanation = query.prob if result == "permerror" and query.prob else ""
        print(result, explanation, sep="\t")
