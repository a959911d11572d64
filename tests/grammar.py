"""Messages made from the grammar of RFC 3261 section 25.1, and the same with one rule broken.

Written from the RFC's rules, as a speaker would, where tests/reference.py reads: nothing is shared with either parser.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"
UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()"
WORD = TOKEN + '()<>:\\"/[]?{}'
METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "MESSAGE", "NOTIFY", "SUBSCRIBE", "X-Own.1")
COMPACT = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Content-Length": "l", "Subject": "s"}


class Speaker:
    """Says one message after the other, each rule's alternatives by chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def some(self, alphabet: str, least: int = 1, most: int = 12) -> str:
        return "".join(self.random.choices(alphabet, k=self.random.randint(least, most)))

    def one_of(self, *choices: Callable[[], str] | str) -> str:
        choice = self.random.choice(choices)
        return choice if isinstance(choice, str) else choice()

    def maybe(self, choice: Callable[[], str] | str) -> str:
        return self.one_of("", choice)

    def white(self) -> str:
        """SWS or LWS that is seldom more than nothing or a space."""
        return self.random.choices(("", " ", "\t", "  ", "\r\n ", " \r\n\t"), (12, 6, 1, 1, 1, 1))[0]

    def token(self) -> str:
        return self.some(TOKEN)

    def quoted(self) -> str:
        inner = (self.some("abc ,;<>@=é€\t", 0, 6), "\\" + self.random.choice('"\\x'), self.some("xyz", 0, 3))
        return '"' + "".join(self.random.sample(inner, 3)) + '"'

    def ipv6(self) -> str:
        return "[" + self.one_of("::1", "2001:db8::10", "::ffff:192.0.2.1", "1:2:3:4:5:6:7:8") + "]"

    def host(self) -> str:
        return self.one_of("a.b", "example.com.", "192.0.2.1", "x-1.y2.z", self.ipv6)

    def port(self) -> str:
        return str(self.random.randint(1, 65_535))

    def escaped(self) -> str:
        return f"%{self.random.randint(0, 255):02{self.random.choice('xX')}}"

    def uri(self, *, headers: bool = True) -> str:
        user = "".join(self.one_of(lambda: self.some(UNRESERVED + "&=+$,;?/"), self.escaped) for _ in range(2))
        text = self.one_of("sip:", "sips:", "SIP:") + self.maybe(user + self.maybe(":" + self.some(UNRESERVED)) + "@")
        text += self.host() + self.maybe(lambda: ":" + self.port())
        for _ in range(self.random.randint(0, 3)):
            text += (
                ";" + self.some(UNRESERVED + "[]/:&+$") + self.maybe(lambda: "=" + self.some(UNRESERVED + "[]/:&+$"))
            )
        return text + (self.maybe("?subject=a%20b&priority=urgent") if headers else "")

    def any_uri(self, *, headers: bool = True) -> str:
        return self.one_of(
            lambda: self.uri(headers=headers), "tel:+1-201-555-0123;isub=1", "urn:service:sos", "http://a.b/c?d=e"
        )

    def value(self) -> str:
        return self.one_of(self.token, self.quoted, self.host)

    def parameters(self, *known: str) -> str:
        own = [";" + self.white() + self.some(TOKEN, 3) + "x" + self.maybe(self.equals) for _ in range(2)]
        chosen = self.random.sample(own, self.random.randint(0, 2)) + [";" + self.white() + one for one in known]
        self.random.shuffle(chosen)
        return "".join(self.white() + one for one in chosen)

    def equals(self) -> str:
        return self.white() + "=" + self.white() + self.value()

    def address(self, *known: str) -> str:
        name = self.one_of("", self.quoted, "Bob Ross ", lambda: self.token() + " ")
        if self.random.random() < 0.15:
            return self.one_of("sip:a@b.c", "sips:b.c", "tel:+1") + self.parameters(*known)
        return f"{name}{self.white()}<{self.uri()}>" + self.parameters(*known)

    def via(self) -> str:
        slash = self.one_of("/", "/", "/", " / ", "\r\n /")
        protocol = f"SIP{slash}2.0{slash}" + self.one_of("UDP", "TCP", "TLS", "WSS", self.token)
        port = self.maybe(lambda: self.one_of(":", " : ") + self.port())
        known = self.random.sample(
            ["ttl=16", "received=192.0.2.9", "rport", "maddr=" + self.host()], self.random.randint(0, 2)
        )
        return f"{protocol} {self.host()}{port}" + self.parameters("branch=z9hG4bK" + self.token(), *known)

    def header(self, name: str, value: str) -> str:
        spelled = self.one_of(name, name.upper(), name.lower(), COMPACT.get(name, name))
        before, behind = self.one_of("", "", "", " "), self.one_of(" ", "", "  ", " ")
        return f"{spelled}{before}:{behind}{value}{self.one_of('', '', ' ')}"

    def fields(self) -> tuple[str, dict[str, str], str]:
        """Start line, headers and body."""
        method = self.random.choice(METHODS)
        start = f"{method} {self.any_uri(headers=False)} SIP/2.0"
        if self.random.random() < 0.3:
            start = f"SIP/2.0 {self.random.randint(100, 699)} " + self.maybe("Any reason, €.")
        body = self.maybe("v=0\r\n\r\n\x00 any octets")
        return (
            start,
            {
                "Via": self.via() + self.maybe(lambda: " , " + self.via()),
                "From": self.address("tag=" + self.token()),
                "To": self.address(*self.random.sample(["tag=" + self.token()], self.random.randint(0, 1))),
                "Call-ID": self.some(WORD) + self.maybe(lambda: "@" + self.some(WORD)),
                "CSeq": f"{self.random.randint(0, 2**31 - 1)}{self.one_of(' ', '  ', ' ')}{method}",
                "Max-Forwards": str(self.random.randint(0, 255)),
                "Contact": self.one_of("*", f"<{self.uri()}>;q=0.{self.random.randint(0, 999)}"),
                "Subject": self.some("any text: é, \t", 0, 30),
                "X-" + self.some(TOKEN): self.some(WORD + " ", 0, 40),
                "Content-Length": str(len(body.encode())),
            },
            body,
        )

    def write(self, start: str, fields: dict[str, str], body: str) -> bytes:
        lines = [self.header(name, value) for name, value in fields.items()]
        self.random.shuffle(lines)
        return "\r\n".join([start, *lines, "", body]).encode()

    def message(self) -> bytes:
        return self.write(*self.fields())


def instead(name: str, *values: str) -> Callable[[Speaker, dict[str, str]], None]:
    """A breach that says one of these values for a header."""

    def breach(speaker: Speaker, fields: dict[str, str]) -> None:
        fields[name] = speaker.random.choice(values)

    return breach


BREACHES: dict[str, Callable[[Speaker, dict[str, str]], None]] = {
    "a Via without its parts": instead(
        "Via", "SIP/2.0", "SIP/2.0/UDP", "UDP a.b", "SIP/2.0/UDP a.b:x", "SIP/2.0/UDP a b"
    ),
    "a Via with a broken parameter": instead("Via", "SIP/2.0/UDP a.b;", "SIP/2.0/UDP a.b;=x", "SIP/2.0/UDP a.b;b="),
    "a port that is none": instead("Via", "SIP/2.0/UDP a.b:0", "SIP/2.0/UDP a.b:65536", "SIP/2.0/UDP a.b:-1"),
    "an open quote": instead("From", '"Bob <sip:a@b.c>;tag=1', '"Bob\\" <sip:a@b.c>', '<sip:a@b.c>;tag=1;x="y'),
    "an open bracket": instead("To", "<sip:a@b.c", "Bob <sip:a@b.c;tag=1", "<sip:a@b.c>>"),
    "no URI": instead("From", "", "<>;tag=1", "Bob", "<a@b.c>", "<sip:>;tag=1", "<sip:@b.c>", "<:a@b.c>"),
    "white space in a URI": instead("To", "<sip:a @b.c>", "<sip:a@b.c ;x>", "< sip:a@b.c>"),
    "a broken escape": instead("From", "<sip:a%4@b.c>;tag=1", "<sip:a%zz@b.c>", "<sip:a@b.c;x=%>"),
    "a control in a URI": instead("To", "<sip:a\x01@b.c>", "<sip:a@b\x00.c>", "<sip:a@b.c\x7f>"),
    "two values": instead("To", "<sip:a@b.c>, <sip:d@e.f>", "<sip:a@b.c>;tag=1,sip:d@e.f"),
    "no number in CSeq": instead("CSeq", "INVITE", "x INVITE", "-1 INVITE", "1", "1.0 INVITE", ""),
    "a number too large": instead("CSeq", "2147483648 INVITE", "4294967297 INVITE", "99999999999999999999 INVITE"),
    "no Call-ID": instead("Call-ID", "", "a b", "a\x01b", "a\tb"),
    "no length": instead(
        "Content-Length", "", "-1", "five", "0x10", "5 5", "5,5", "+5", "4294967296", "18446744073709551621"
    ),
    "a body cut short": instead("Content-Length", "1000", "131071"),
    "a name that is no token": lambda speaker, fields: fields.update(
        {speaker.random.choice(["X@", "X Y", "", "é"]): "v"}
    ),
    "a header twice": lambda speaker, fields: fields.update({speaker.random.choice(["t", "f", "i", "l"]) + " ": "0"}),
}


def broken(speaker: Speaker, breach: str) -> bytes:
    """A message that is in order but for one breach."""
    start, fields, body = speaker.fields()
    BREACHES[breach](speaker, fields)
    return speaker.write(start, fields, body)
