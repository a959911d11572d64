"""Digest authentication, both sides (RFC 3261 section 22, RFC 7616, RFC 8760; SPEC B7).

`DigestClient` answers challenges for one user; `DigestServer` makes and checks
them.  MD5, SHA-256, SHA-512-256, each also as `-sess`; qop auth and auth-int.
Header values are read and written by `sipcore.headers`; which servers may be
answered, clocks and randomness are the caller's.  No secret is ever in a text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

from sipcore.errors import ParseError, SipError
from sipcore.headers.authentication import (
    Challenge,
    Credentials,
    format_challenge,
    format_credentials,
    parse_challenges,
    parse_credentials,
)
from sipcore.sharing import share

Header = tuple[str, str]

# Best first (SPEC B7).  Keys are as compared: upper case, without -SESS.
ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
STRENGTH = {"MD5": 0, "SHA-256": 1, "SHA-512-256": 2}
MAXIMUM_CHALLENGES = 4
MAXIMUM_REALMS = 16
MAXIMUM_NONCES = 4096
NONCE_LIFE = 300.0

# Where a status code's challenge stands and where its answer goes (RFC 3261 section 22.1).
PLACES = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


class DigestRefused(SipError):
    """A challenge that is not answered; the text says why, for the status line and the trace."""


class HasSecret(Protocol):
    """Holds a password that shows itself only when asked (`sipcore.config.Secret`)."""

    def reveal(self) -> str: ...


def algorithm_name(written: str | None) -> tuple[str, bool]:
    """(name as in ALGORITHMS, whether -sess); absent means MD5 (RFC 7616 section 3.3)."""
    name = (written or "MD5").upper()
    return name.removesuffix("-SESS"), name.endswith("-SESS")


def is_supported(written: str | None) -> bool:
    """Whether this algorithm can be computed here."""
    name, _ = algorithm_name(written)
    return ALGORITHMS.get(name, "") in hashlib.algorithms_available


def hash_hex(algorithm: str, text: str | bytes) -> str:
    """The hash of `text` in lower-case hexadecimal; `algorithm` is a name of ALGORITHMS."""
    octets = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return hashlib.new(ALGORITHMS[algorithm], octets, usedforsecurity=False).hexdigest()


def make_ha1(algorithm: str, user_name: str, realm: str, password: str) -> str:
    """H(user:realm:password): what a server may store in place of a password (RFC 7616 section 3.4.2)."""
    return hash_hex(algorithm, f"{user_name}:{realm}:{password}")


@dataclass(frozen=True, slots=True, repr=False)
class DigestInput:
    """Everything that goes into a response but HA1 (RFC 7616 section 3.4.1)."""

    algorithm: str | None
    nonce: str
    method: str
    uri: str
    body: bytes = b""
    qop: str | None = None
    nonce_count: str = ""
    cnonce: str = ""

    def response(self, ha1: str) -> str:
        name, session = algorithm_name(self.algorithm)
        if session:
            ha1 = hash_hex(name, f"{ha1}:{self.nonce}:{self.cnonce}")
        entity = f":{hash_hex(name, self.body)}" if self.qop == "auth-int" else ""
        ha2 = hash_hex(name, f"{self.method}:{self.uri}{entity}")
        if self.qop is None:
            return hash_hex(name, f"{ha1}:{self.nonce}:{ha2}")
        return hash_hex(name, f"{ha1}:{self.nonce}:{self.nonce_count}:{self.cnonce}:{self.qop}:{ha2}")


# The client


Place = tuple[int, str]  # 401 or 407, and the realm


class _Session:
    """What is kept of the challenge that a realm was last answered, and how often its nonce was used.

    There is one for each of tens of thousands of registrations: what they have in common is shared.
    """

    __slots__ = ("_cnonce", "algorithm", "count", "nonce", "opaque", "place", "qop")

    def __init__(self, place: Place, challenge: Challenge, cnonce: int) -> None:
        self.place = place
        self.nonce = challenge.nonce or ""
        self.algorithm = None if challenge.algorithm is None else share(challenge.algorithm)
        self.qop = _choose_qop(challenge)
        self.opaque = None if challenge.opaque is None else share(challenge.opaque)
        self.count = 0
        self._cnonce = cnonce

    @property
    def cnonce(self) -> str:
        return f"{self._cnonce:024x}"


class _Realm(NamedTuple):
    """A realm that was met, and the strongest hash that it ever offered (SPEC B7)."""

    name: str
    learnt: bool = False
    strength: int = 0


@lru_cache(maxsize=256)
def _shared_realms(realms: tuple[_Realm, ...]) -> tuple[_Realm, ...]:
    """One tuple for the many clients that met the same realms."""
    return realms


class DigestClient:
    """Answers challenges with one user's name and password.

    `allowed_realms` limits the realms that are answered; when it is empty, realms
    are learnt from challenges outside dialogs, and inside a dialog only learnt
    ones are answered (SPEC B7).  `random` makes cnonces.  Ask for an `attempt`
    for each request that goes to one of the service's own servers; requests to
    anybody else get none (FAULTS 34).
    """

    __slots__ = ("_allowed", "_password", "_random", "_realms", "_sessions", "user_name")

    def __init__(
        self,
        user_name: str,
        password: str | HasSecret,
        *,
        random: random.Random,
        allowed_realms: Iterable[str] = (),
    ) -> None:
        self.user_name = user_name
        self._password = password
        self._random = random
        self._allowed = frozenset(allowed_realms)
        self._realms: tuple[_Realm, ...] = ()
        self._sessions: tuple[_Session, ...] = ()

    def __repr__(self) -> str:
        return f"DigestClient({self.user_name!r})"

    def attempt(self, *, method: str, uri: str, body: bytes = b"", in_dialog: bool = False) -> DigestAttempt:
        """The authentication of one request: through its challenges to its final response."""
        return DigestAttempt(self, method, uri, body, in_dialog)

    def check_realm(self, realm: str, *, in_dialog: bool) -> None:
        """Raise DigestRefused for a realm that gets no credentials; learn it otherwise (SPEC B7)."""
        if self._allowed:
            if realm not in self._allowed:
                raise DigestRefused(f"realm {realm!r} is not in X_AuthRealms")
        elif not self._met(realm).learnt:
            if in_dialog:
                raise DigestRefused(f"realm {realm!r} was never seen outside a dialog")
            if not self._note(self._met(realm)._replace(learnt=True)):
                raise DigestRefused(f"realm {realm!r} is one more than {MAXIMUM_REALMS}")

    def _met(self, realm: str) -> _Realm:
        return next((met for met in self._realms if met.name == realm), _Realm(realm))

    def _note(self, realm: _Realm) -> bool:
        """Remember what is known of a realm; False when there is no room for one more."""
        others = [met for met in self._realms if met.name != realm.name]
        if len(others) >= MAXIMUM_REALMS:
            return False
        self._realms = _shared_realms((*others, realm))
        return True

    def choose(self, challenges: Sequence[Challenge]) -> Challenge:
        """The strongest usable challenge of one realm; never a weaker hash than it offered before (SPEC B7)."""
        usable = [challenge for challenge in challenges if _why_unusable(challenge) is None]
        if not usable:
            raise DigestRefused("; ".join(dict.fromkeys(_why_unusable(challenge) or "" for challenge in challenges)))
        best = max(usable, key=lambda challenge: STRENGTH[algorithm_name(challenge.algorithm)[0]])
        strength = STRENGTH[algorithm_name(best.algorithm)[0]]
        realm = best.realm or ""
        met = self._met(realm)
        if strength == 0 < met.strength:
            raise DigestRefused(f"realm {realm!r} offered SHA-256 before and now MD5 alone")
        if strength > met.strength:
            self._note(met._replace(strength=strength))
        return best

    def start_session(self, status_code: int, challenge: Challenge) -> None:
        """From now on this challenge's nonce is used for its realm."""
        place = _shared_place(status_code, challenge.realm or "")
        session = _Session(place, challenge, self._random.getrandbits(96))
        others = [kept for kept in self._sessions if kept.place != place]
        self._sessions = (*others[-2 * MAXIMUM_REALMS + 1 :], session)

    def _session(self, place: Place) -> _Session | None:
        return next((session for session in self._sessions if session.place == place), None)

    def nonce_in_use(self, status_code: int, realm: str) -> str | None:
        session = self._session((status_code, realm))
        return session.nonce if session else None

    def known_realms(self) -> list[Place]:
        """(401 or 407, realm) of every realm whose nonce can be used again."""
        return [session.place for session in self._sessions]

    def credentials(self, key: Place, method: str, uri: str, body: bytes) -> Header:
        """The header that answers the realm `key` = (401 or 407, realm), its nonce count risen by one."""
        session = self._session(key)
        if session is None:
            raise DigestRefused(f"realm {key[1]!r} has made no challenge")
        session.count += 1
        asked = DigestInput(
            algorithm=session.algorithm,
            nonce=session.nonce,
            method=method,
            uri=uri,
            body=body,
            qop=session.qop,
            nonce_count=f"{session.count:08x}",
            cnonce=session.cnonce,
        )
        algorithm = algorithm_name(session.algorithm)[0]
        password = self._password if isinstance(self._password, str) else self._password.reveal()
        response = asked.response(make_ha1(algorithm, self.user_name, key[1], password))
        return PLACES[key[0]][1], format_credentials(
            _client_credentials(self.user_name, key[1], asked, response, session.opaque)
        )

    def use_next_nonce(self, status_code: int, nonce: str) -> None:
        """The server named the nonce to use next (RFC 7616 section 3.5); only where one realm of that kind is known."""
        sessions = [session for session in self._sessions if session.place[0] == status_code]
        if len(sessions) == 1 and nonce:
            sessions[0].nonce, sessions[0].count = nonce, 0


@lru_cache(maxsize=256)
def _shared_place(status_code: int, realm: str) -> Place:
    """One tuple for all users of a realm."""
    return status_code, realm


def _why_unusable(challenge: Challenge) -> str | None:
    if challenge.scheme.lower() != "digest":
        return f"scheme {challenge.scheme} is not Digest"
    if challenge.realm is None or not challenge.nonce:
        return "a challenge without realm or nonce"
    if not is_supported(challenge.algorithm):
        return f"algorithm {challenge.algorithm} is not known"
    if challenge.qop and not {"auth", "auth-int"} & set(challenge.qop):
        return f"qop {','.join(challenge.qop)} is not known"
    return None


def _choose_qop(challenge: Challenge) -> str | None:
    """auth where it is offered: auth-int breaks when a proxy touches the body."""
    if not challenge.qop:
        return None
    return "auth" if "auth" in challenge.qop else "auth-int"


def _client_credentials(
    user_name: str, realm: str, asked: DigestInput, response: str, opaque: str | None
) -> Credentials:
    values: list[tuple[str, str | None]] = [
        ("username", user_name),
        ("realm", realm),
        ("nonce", asked.nonce),
        ("uri", asked.uri),
        ("response", response),
    ]
    if asked.algorithm is not None:
        values.append(("algorithm", asked.algorithm))
    if asked.qop is not None:
        values += [("cnonce", asked.cnonce), ("qop", asked.qop), ("nc", asked.nonce_count)]
    elif algorithm_name(asked.algorithm)[1]:
        values.append(("cnonce", asked.cnonce))
    if opaque is not None:
        values.append(("opaque", opaque))
    return Credentials.digest(values)


class DigestAttempt:
    """One request's way through its challenges (SPEC B7).

    One try per realm, one more for `stale=true` with a new nonce; several realms
    accumulate; at most four challenges a request (FAULTS 35).
    """

    __slots__ = ("_body", "_challenges", "_client", "_in_dialog", "_method", "_realms", "_retried_stale", "_uri")

    def __init__(self, client: DigestClient, method: str, uri: str, body: bytes, in_dialog: bool) -> None:
        self._client = client
        self._method = method
        self._uri = uri
        self._body = body
        self._in_dialog = in_dialog
        self._challenges = 0
        self._realms: list[Place] = []
        self._retried_stale: set[Place] = set()

    def first_headers(self) -> list[Header]:
        """Credentials for nonces that are already known, to spare a challenge; they don't count as a try."""
        return [self._credentials(key) for key in self._client.known_realms()]

    def answer(self, status_code: int, headers: Iterable[Header], uri: str | None = None) -> list[Header]:
        """The headers that answer a 401 or 407 with `headers`; DigestRefused when there is nothing to say.

        All credentials of the request are returned: they replace those it carried.
        `uri` replaces the digest URI, when a redirection changed it.
        """
        self._uri = uri or self._uri
        self._challenges += 1
        if self._challenges > MAXIMUM_CHALLENGES:
            raise DigestRefused(f"more than {MAXIMUM_CHALLENGES} challenges to one request")
        refusals: list[str] = []
        answered = 0
        for realm, challenges in _by_realm(status_code, headers).items():
            try:
                self._take(status_code, realm, challenges)
                answered += 1
            except DigestRefused as refused:
                refusals.append(str(refused))
        if not answered:
            raise DigestRefused("; ".join(refusals) or f"a {status_code} without a challenge")
        return [self._credentials(key) for key in self._realms]

    def accepted(self, headers: Iterable[Header]) -> None:
        """The request got its final 2xx with `headers`: heed a next nonce."""
        for name, value in headers:
            place = {"authentication-info": 401, "proxy-authentication-info": 407}.get(name.lower())
            if place is not None:
                self._client.use_next_nonce(place, _next_nonce(value))

    def _take(self, status_code: int, realm: str, challenges: Sequence[Challenge]) -> None:
        """Make `realm` one of those that the request answers, or raise DigestRefused."""
        self._client.check_realm(realm, in_dialog=self._in_dialog)
        challenge = self._client.choose(challenges)
        key = (status_code, realm)
        if key in self._realms:
            if not challenge.stale or challenge.nonce == self._client.nonce_in_use(*key):
                raise DigestRefused(f"realm {realm!r} did not accept the credentials")
            if key in self._retried_stale:
                raise DigestRefused(f"realm {realm!r} called two nonces stale")
            self._retried_stale.add(key)
        else:
            self._realms.append(key)
        self._client.start_session(status_code, challenge)

    def _credentials(self, key: Place) -> Header:
        return self._client.credentials(key, self._method, self._uri, self._body)


def _by_realm(status_code: int, headers: Iterable[Header]) -> dict[str, list[Challenge]]:
    """The challenges of a response in their order, by realm; what cannot be read counts as no challenge."""
    wanted = PLACES[status_code][0].lower()
    found: dict[str, list[Challenge]] = {}
    for name, value in headers:
        if name.lower() != wanted:
            continue
        try:
            for challenge in parse_challenges(value):
                found.setdefault(challenge.realm or "", []).append(challenge)
        except ParseError:
            continue
    return dict(list(found.items())[:MAXIMUM_REALMS])


def _next_nonce(value: str) -> str:
    try:
        challenges = parse_challenges(f"Digest {value}")
    except ParseError:
        return ""
    return challenges[0].parameters.get("nextnonce") or ""


# The server

# What is stored for a user: a password, or HA1 by algorithm name ("MD5", "SHA-256", "SHA-512-256").
Stored = str | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request's credentials.

    `user_name` is set when they hold; otherwise `stale` says that only the nonce
    was wrong (challenge again with `stale=True`) and `why` is for the log, never
    for the far side.
    """

    user_name: str = ""
    stale: bool = False
    why: str = ""


@dataclass(slots=True)
class DigestServer:
    """Challenges and checks for one realm.

    `look_up` gives what is stored for a user name, or None.  Nonces authenticate
    themselves by `key` (at least 16 random octets): nothing is kept for a
    challenge, and for those that were used only their highest nonce count, at most
    4,096 of them (FAULTS 32, 33).  Times are seconds of any clock that does not jump back.
    """

    realm: str
    look_up: Callable[[str], Stored | None]
    key: bytes = field(repr=False)
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    qop: tuple[str, ...] = ("auth",)
    nonce_life: float = NONCE_LIFE
    _used: OrderedDict[str, int] = field(default_factory=OrderedDict, repr=False)
    _forgotten_until: float = field(default=float("-inf"), repr=False)
    _made: int = field(default=0, repr=False)

    def challenge(self, now: float, source: str, *, stale: bool = False) -> list[str]:
        """One header value for each algorithm, best first (RFC 8760 section 2.4); `source` is whom it goes to."""
        values: list[tuple[str, str | None]] = [("realm", self.realm), ("nonce", self._make_nonce(now, source))]
        if self.qop:
            values.append(("qop", ",".join(self.qop)))
        if stale:
            values.append(("stale", "true"))
        return [format_challenge(Challenge.digest([*values, ("algorithm", name)])) for name in self.algorithms]

    def verify(self, fields: Iterable[str], *, method: str, uri: str, body: bytes, now: float, source: str) -> Verdict:
        """Check the request's Authorization (or Proxy-Authorization) field values; `uri` is its Request-URI."""
        why = "no credentials"
        for value in fields:
            try:
                credentials = parse_credentials(value)
            except ParseError:
                why = "credentials that cannot be read"
                continue
            if credentials.scheme.lower() == "digest" and credentials.realm == self.realm:
                return self._verify(credentials, method=method, uri=uri, body=body, now=now, source=source)
        return Verdict(why=why)

    def _verify(
        self, credentials: Credentials, *, method: str, uri: str, body: bytes, now: float, source: str
    ) -> Verdict:
        why = self._why_unusable(credentials, uri)
        if why:
            return Verdict(why=why)
        if not self._response_holds(credentials, method, body):
            return Verdict(why="wrong user name or password")
        why = self._why_stale(credentials, now, source)
        if why:
            return Verdict(stale=True, why=why)
        return Verdict(user_name=credentials.username or "")

    def _why_unusable(self, credentials: Credentials, uri: str) -> str:
        name, session = algorithm_name(credentials.algorithm)
        if name not in self.algorithms or not is_supported(name):
            return "an algorithm that was not offered"
        if credentials.qop is not None and credentials.qop not in self.qop:
            return "a qop that was not offered"
        if credentials.qop is not None and (not credentials.cnonce or not credentials.nonce_count):
            return "qop without cnonce and nc"
        if session and not credentials.cnonce:
            return "-sess without cnonce"
        if credentials.uri != uri:
            return "the digest is for another URI"
        return ""

    def _response_holds(self, credentials: Credentials, method: str, body: bytes) -> bool:
        """Compare in constant time; an unknown user costs the same as a wrong password (FAULTS 30, 31)."""
        name, _ = algorithm_name(credentials.algorithm)
        user_name = credentials.username or ""
        stored = self.look_up(user_name)
        ha1 = stored.get(name) if isinstance(stored, Mapping) else None
        if ha1 is None:
            ha1 = make_ha1(name, user_name, self.realm, stored if isinstance(stored, str) else "")
        asked = DigestInput(
            algorithm=credentials.algorithm,
            nonce=credentials.nonce or "",
            method=method,
            uri=credentials.uri or "",
            body=body,
            qop=credentials.qop,
            nonce_count=f"{credentials.nonce_count or 0:08x}",
            cnonce=credentials.cnonce or "",
        )
        same = hmac.compare_digest(asked.response(ha1).encode(), (credentials.response or "").lower().encode())
        return same and stored is not None and (isinstance(stored, str) or name in stored)

    def _why_stale(self, credentials: Credentials, now: float, source: str) -> str:
        nonce = credentials.nonce or ""
        made_at = self._nonce_time(nonce, source)
        if made_at is None:
            return "a nonce that was not made here for this source"
        if not now - self.nonce_life <= made_at <= now:
            return "an old nonce"
        if made_at <= self._forgotten_until and nonce not in self._used:
            return "a nonce whose count is no longer known"
        count = credentials.nonce_count or 1
        if count <= self._used.get(nonce, 0):
            return "a nonce count that was used before"
        self._use(nonce, count)
        return ""

    def _use(self, nonce: str, count: int) -> None:
        self._used[nonce] = count
        self._used.move_to_end(nonce)
        if len(self._used) > MAXIMUM_NONCES:
            forgotten, _ = self._used.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, _time_in(base64.urlsafe_b64decode(forgotten)))

    def _make_nonce(self, now: float, source: str) -> str:
        self._made = (self._made + 1) & 0xFFFF  # no two nonces alike within a millisecond
        stamp = (int(now * 1000) << 16 | self._made).to_bytes(8, "big")
        return base64.urlsafe_b64encode(stamp + self._seal(stamp, source)).decode("ascii")

    def _nonce_time(self, nonce: str, source: str) -> float | None:
        """When this server made `nonce` for `source`, or None if it did not."""
        try:
            octets = base64.b64decode(nonce, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        stamp, seal = octets[:8], octets[8:]
        if len(octets) != 24 or not hmac.compare_digest(seal, self._seal(stamp, source)):
            return None
        return _time_in(stamp)

    def _seal(self, stamp: bytes, source: str) -> bytes:
        text = stamp + f"{source}\0{self.realm}".encode("utf-8", "surrogateescape")
        return hmac.digest(self.key, text, "sha256")[:16]


def _time_in(octets: bytes) -> float:
    """The seconds in the stamp that a nonce begins with."""
    return (int.from_bytes(octets[:8], "big") >> 16) / 1000
