"""A filter on python3-milter that does what a script says: filter.py SOCKET SCRIPT SEEN [spaces]

SCRIPT is JSON, {case: {stage: [step, ...]}}; the case is the name said in HELO up to its first dot, and the
stages are helo, mail, rcpt, data, header, eoh, body and eom. A step is a list: a method of the filter and its
arguments, or one of the answers below, which ends the list. A script of "rcpt:ADDRESS" is for that recipient
alone, one of "header:NAME" for that field.

What the filter is told stands in the directory SEEN, a file for each case. With `spaces` it asks for values
with the space in front of them.
"""

import json
import os
import sys

import Milter

SOCKET, SCRIPT, SEEN = sys.argv[1:4]
with open(SCRIPT) as file:
    SCRIPTS = json.load(file)

ANSWERS = {
    "continue": Milter.CONTINUE,
    "accept": Milter.ACCEPT,
    "reject": Milter.REJECT,
    "tempfail": Milter.TEMPFAIL,
    "discard": Milter.DISCARD,
    "skip": Milter.SKIP,
}

MACROS = [
    "j", "_", "{daemon_name}", "{client_addr}", "{client_name}", "{client_ptr}", "{auth_type}",
    "{mail_addr}", "{mail_host}", "{rcpt_addr}", "{rcpt_host}", "i",
]


def text(octets):
    return octets.decode("latin-1") if isinstance(octets, bytes) else octets


class Filter(Milter.Base):
    def __init__(self):
        self.script, self.file, self.said = {}, None, []

    def note(self, stage, *what):
        """Notes what came, and the macros with it."""
        # Postfix makes the id once there is a recipient.
        known = [name for name in MACROS if name != "i" or stage not in ("mail", "rcpt")]
        macros = [name for name in known if self.getsymval(name) is not None]
        line = [stage, [text(word) for word in what], [self.shown(name) for name in macros]]
        if self.file is None:
            self.said.append(line)
            return
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def shown(self, name):
        """A macro; of the id only that there is one."""
        return [name, "" if name == "i" else text(self.getsymval(name))]

    def do(self, *stages):
        """The steps of the first of these stages that the script has."""
        steps = next((self.script[stage] for stage in stages if stage in self.script), [])
        for name, *arguments in steps:
            if name in ANSWERS:
                return ANSWERS[name]
            if name == "replacebody":
                arguments = [arguments[0].encode("latin-1")]
            try:
                getattr(self, name)(*arguments)
            except Exception as error:
                self.note("refused", name, str(error))
        return Milter.CONTINUE

    def connect(self, name, family, address):
        self.note("connect", name)
        return Milter.CONTINUE

    def hello(self, name):
        case = name.split(".")[0]
        self.script = SCRIPTS.get(case, {})
        self.file = open(os.path.join(SEEN, case), "a")
        self.note("helo", name)
        return self.do("helo")

    @Milter.decode("bytes")
    def envfrom(self, sender, *parameters):
        self.note("mail", sender, *parameters)
        return self.do("mail")

    @Milter.decode("bytes")
    def envrcpt(self, recipient, *parameters):
        self.note("rcpt", recipient, *parameters)
        address = text(recipient).strip("<>")
        return self.do("rcpt:" + address, "rcpt")

    def data(self):
        self.note("data")
        return self.do("data")

    @Milter.decode("bytes")
    def header(self, name, value):
        self.note("header", name, value)
        return self.do("header:" + name, "header")

    def eoh(self):
        self.note("eoh")
        self.octets = b""
        return self.do("eoh")

    def body(self, chunk):
        self.octets += chunk
        return self.do("body")

    def eom(self):
        self.note("eom", self.octets)
        return self.do("eom")

    def abort(self):
        return Milter.CONTINUE

    def close(self):
        if self.file is not None:
            self.file.close()
        return Milter.CONTINUE


if sys.argv[4:] == ["spaces"]:
    Milter.header_leading_space(Filter)
Milter.factory = Filter
Milter.set_flags(Milter.CURR_ACTS)
Milter.runmilter("filter", SOCKET, 60)
