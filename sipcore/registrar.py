"""An embedded registrar with digest (RFC 3261 sections 10.3 and 22; RFC 3327, 3608, 5626).

Reads REGISTER requests and answers them; what is bound to what is `location`'s
business, digest arithmetic `digest`'s.  Routes no calls: `targets` is the answer
that a proxy in front of it asks for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Mapping, Sequence

from sipcore._fields import Address
from sipcore._message import Request
from sipcore._uri import Uri
from sipcore.binding_store import BindingStore
from sipcore.digest import PLACES, DigestServer, Stored
from sipcore.errors import ParseError, TransportError
from sipcore.location import (
    Binding,
    Limits,
    LocationService,
    RegisterRefused,
    Registration,
    Update,
    format_contacts,
)
from sipcore.proxy import Target
from sipcore.user_agent import UserAgent
from sipcore.workers import Workers

logger = logging.getLogger("sipcore.registrar")

SIP_PORT = 5060
TOPIC = "sipcore.registrar.targets"  # what workers ask one another about
MAXIMUM_EXPIRES = 2**32 - 1
SUPPORTED = frozenset({"path", "outbound", "gruu"})

Header = tuple[str, str]


class Registrar:
    """Answers REGISTER on `user_agent` for addresses of record in `domains`.

    `users` gives each user name its password (or HA1 by algorithm); with None
    nobody is asked for credentials.  `service_route` values stand in every 200
    (RFC 3608).  A user may register only the address of record that bears its name.
    With a `store` a REGISTER is answered once its bindings are on disk, 500 where
    they cannot be (FAULTS 54), and those of before the start are there again.
    """

    def __init__(
        self,
        user_agent: UserAgent,
        *,
        domains: Sequence[str],
        users: Mapping[str, Stored] | None = None,
        realm: str = "",
        limits: Limits | None = None,
        service_route: Sequence[str] = (),
        store: BindingStore | None = None,
    ) -> None:
        self.user_agent = user_agent
        self.store = store
        self.domains = frozenset(domain.lower() for domain in domains)
        self.location = LocationService(limits or Limits())
        self.service_route = tuple(service_route)
        self.accepted = 0
        self.refused = 0
        for address_of_record, held in (store.load() if store is not None else {}).items():
            self.location.restore(address_of_record, held.values())
        self.digest: DigestServer | None = None
        if users is not None:
            self.digest = DigestServer(realm or domains[0], users.get, user_agent.env.key())
        self.workers = user_agent.stack.workers
        if self.workers is not None:
            self.workers.answer(TOPIC, self._answer_targets)
        user_agent.on("REGISTER", self.handle)

    @property
    def lost(self) -> int:
        """How many REGISTERs got 500 because the store could not keep what they asked for (FAULTS 54)."""
        return 0 if self.store is None else self.store.failures

    def handle(self, request: Request) -> None:
        """Answer one REGISTER; nothing that a request says raises.

        Of several workers each address of record has one that keeps its bindings and answers its REGISTERs.
        """
        try:
            if self._is_elsewhere(request):
                return
            before = self._before(request)
            headers = self._register(request)
        except RegisterRefused as refused:
            self.refused += 1
            request.reply(refused.status_code, refused.reason_phrase, headers=list(refused.headers))
        except ParseError as error:
            self.refused += 1
            request.reply(400, headers=[("Warning", f'399 sipcore "{_quotable(error.reason)}"')])
        else:
            self._acknowledge(request, headers, before)

    def _before(self, request: Request) -> tuple[Binding, ...]:
        """The bindings that a REGISTER may change, where they are kept on disk."""
        if self.store is None or request.to is None:
            return ()
        return self.location.bindings(self._address_of_record(request.to.uri), self.user_agent.env.now())

    def _acknowledge(self, request: Request, headers: list[Header], before: tuple[Binding, ...]) -> None:
        """200, with a store once what was bound is on disk: never a 200 for what a crash would forget."""
        store, to = self.store, request.to
        if store is None or to is None or not request.get_all("Contact"):
            self._conclude(request, headers)
            return
        address_of_record = self._address_of_record(to.uri)

        def done(well: bool, bindings: tuple[Binding, ...] | None) -> None:
            if bindings is not None:
                self.location.restore(address_of_record, bindings)
            self._conclude(request, headers if well else None)

        after = self.location.bindings(address_of_record, self.user_agent.env.now())
        store.put(address_of_record, before, after, done)

    def _conclude(self, request: Request, headers: list[Header] | None) -> None:
        """200 with `headers`, or 500 for bindings that could not be kept."""
        if headers is None:
            self.refused += 1
            request.reply(500, "Bindings Cannot Be Kept")
        else:
            self.accepted += 1
            request.reply(200, headers=headers)

    def targets(self, request: Request) -> list[Target] | Awaitable[list[Target]] | None:
        """Where a request for one of our users goes: all its bindings; None for a domain that is not ours.

        A binding whose connection has ended is forgotten (RFC 5626 section 6).
        Bindings that another worker keeps are awaited from there.
        """
        uri = request.request_uri
        if not self.is_ours(uri):
            return None
        address_of_record = self._address_of_record(uri)
        if self.workers is not None and not self.workers.owns(address_of_record):
            return self._ask_targets(self.workers, address_of_record)
        return self._own_targets(address_of_record)

    def _own_targets(self, address_of_record: str) -> list[Target]:
        bindings = self.location.bindings(address_of_record, self.user_agent.env.now())
        for flow in {binding.flow for binding in bindings if binding.flow and not self._is_alive(binding.flow)}:
            self.location.forget_flow(flow)
        return [self._target(binding) for binding in bindings if not binding.flow or self._is_alive(binding.flow)]

    def challenge(self, request: Request) -> list[Header] | None:
        """Proxy-Authenticate headers for a request in the name of one of our users without good credentials."""
        from_ = request.from_
        if self.digest is None or from_ is None or not self.is_ours(from_.uri) or request.method in ("CANCEL", "BYE"):
            return None
        try:
            self._authenticate(request, 407, from_.uri)
        except RegisterRefused as refused:
            return list(refused.headers)
        return None

    def is_ours(self, uri: Uri) -> bool:
        """Whether the URI's host is one of the domains or one of our own addresses."""
        host = uri.host.lower().rstrip(".")
        return host in self.domains or any(
            host.strip("[]") == listener.host and (uri.port or SIP_PORT) == listener.port
            for listener in self.user_agent.listeners
        )

    # several workers

    def _is_elsewhere(self, request: Request) -> bool:
        """Whether another worker keeps the address of record; the request is there then.  503 when it cannot be."""
        if self.workers is None or request.to is None or not self.is_ours(request.to.uri):
            return False
        owner = self.workers.owner(self._address_of_record(request.to.uri))
        if owner == self.workers.number:
            return False
        if not self.workers.hand_over(request, owner):
            raise RegisterRefused(503, headers=[("Retry-After", "5")])
        return True

    async def _ask_targets(self, workers: Workers, address_of_record: str) -> list[Target]:
        owner = workers.owner(address_of_record)
        answer = await workers.ask(owner, TOPIC, address_of_record.encode("utf-8", "surrogateescape"))
        targets = []
        for uri, routes, flow, connection in json.loads(answer):
            ours = workers.borrow(owner, flow, connection) if flow else 0
            targets.append(Target(uri, tuple(routes), ours))
        return targets

    def _answer_targets(self, question: bytes, worker: int) -> bytes:
        assert self.workers is not None
        found = self._own_targets(question.decode("utf-8", "surrogateescape"))
        return json.dumps(
            [
                (
                    target.uri,
                    target.routes,
                    target.flow,
                    self.workers.lend(target.flow, worker) if target.flow else None,
                )
                for target in found
            ]
        ).encode()

    # one REGISTER, in the order of RFC 3261 section 10.3

    def _register(self, request: Request) -> list[Header]:
        if request.to is None or not self.is_ours(request.to.uri):
            raise RegisterRefused(404)
        required = [tag for tag in request.get_all("Require") if tag.lower() not in SUPPORTED]
        if required:
            raise RegisterRefused(420, headers=[("Unsupported", ", ".join(required))])
        self._authenticate(request, 401, request.to.uri)
        address_of_record = self._address_of_record(request.to.uri)
        now = self.user_agent.env.now()
        bindings = self._update(request, address_of_record, now)
        headers = format_contacts(bindings, now)
        headers += [("Path", path) for path in request.get_all("Path")]
        headers += [("Service-Route", route) for route in self.service_route]
        if any(binding.reg_id for binding in bindings):
            headers.append(("Require", "outbound"))
        return headers

    def _update(self, request: Request, address_of_record: str, now: float) -> tuple[Binding, ...]:
        registration = self._registration(request)
        values = request.get_all("Contact")
        if "*" in (value.strip() for value in values):
            if len(values) != 1 or request.expires != 0:
                raise RegisterRefused(400, "Wildcard Needs Expires 0 And No Other Contact")
            self.location.remove_all(address_of_record, registration, now)
            return ()
        if not values:
            return self.location.bindings(address_of_record, now)
        if len(values) > self.location.limits.bindings_per_address:
            raise RegisterRefused(403, "Too Many Contacts")
        updates = [self._update_of(contact, request) for contact in request.contacts]
        return self.location.update(address_of_record, updates, registration, now)

    def _registration(self, request: Request) -> Registration:
        cseq = request.cseq
        path = tuple(request.get_all("Path"))
        stream = self._transport(request.flow) != "udp" and not path
        return Registration(
            call_id=request.call_id or "",
            sequence=cseq.number if cseq is not None else 0,
            path=path,
            flow=request.flow if stream else 0,
        )

    def _update_of(self, contact: Address, request: Request) -> Update:
        parameters = contact.parameters
        instance = (parameters.get("+sip.instance") or "").strip('"')
        reg_id = _number(parameters.get("reg-id")) or 0
        outbound = bool(instance and reg_id) and "outbound" in (tag.lower() for tag in request.get_all("Supported"))
        expires = _number(parameters["expires"]) if "expires" in parameters else _expires_header(request)
        return Update(
            key=f"{instance} {reg_id}" if outbound else _comparable(contact.uri),
            contact=str(contact.uri),
            expires=expires,
            q=_quality(parameters.get("q")),
            instance=instance,
            reg_id=reg_id if outbound else 0,
        )

    def _authenticate(self, request: Request, status_code: int, uri: Uri) -> None:
        """Raise RegisterRefused with challenges (401, 407), or 403 for a name that is not the user's own."""
        if self.digest is None:
            return
        asks, answers = PLACES[status_code]
        now, source = self.user_agent.env.now(), self._source(request.flow)
        verdict = self.digest.verify(
            request.get_lines(answers),
            method=request.method,
            uri=str(request.request_uri),
            body=request.body,
            now=now,
            source=source,
        )
        if not verdict.user_name:
            logger.debug("%s not authenticated: %s", request.method, verdict.why)
            challenges = self.digest.challenge(now, source, stale=verdict.stale)
            raise RegisterRefused(status_code, headers=[(asks, value) for value in challenges])
        if verdict.user_name != uri.unescaped_user:
            raise RegisterRefused(403)

    # small things

    def _address_of_record(self, uri: Uri) -> str:
        """The canonical form that bindings are kept under: user unescaped, no port, no parameters (10.3 step 5)."""
        host = uri.host.lower().rstrip(".")
        domain = host if host in self.domains else min(self.domains)
        return f"sip:{uri.unescaped_user or ''}@{domain}"

    def _target(self, binding: Binding) -> Target:
        return Target(binding.contact, binding.path, binding.flow)

    def _is_alive(self, flow: int) -> bool:
        return bool(self._source(flow))

    def _source(self, flow: int) -> str:
        try:
            return self.user_agent.engine.flow_info(flow)[3]
        except TransportError:
            return ""

    def _transport(self, flow: int) -> str:
        try:
            return self.user_agent.engine.flow_info(flow)[0]
        except TransportError:
            return "udp"


def _comparable(uri: Uri) -> str:
    """The parts of a contact URI that tell bindings apart (RFC 3261 section 19.1.4), as one text."""
    transport = (uri.parameters.get("transport") or "").lower()
    port = "" if uri.port is None else f":{uri.port}"
    return f"{uri.scheme.lower()}:{uri.unescaped_user or ''}@{uri.host.lower()}{port};{transport}"


def _number(text: str | None) -> int | None:
    """A count of seconds or a small number; None for what is not one (RFC 3261 section 10.2.1.1: the default holds)."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return min(int(text[:12]), MAXIMUM_EXPIRES)


def _expires_header(request: Request) -> int | None:
    text = request.get("Expires")
    return None if text is None else _number(text.strip())


def _quality(text: str | None) -> float:
    """A q value in thousandths; 1 when absent or unreadable."""
    if text is None or len(text) > 5 or not text.replace(".", "", 1).isdigit():
        return 1.0
    return min(float(text), 1.0)


def _quotable(text: str) -> str:
    return text.replace("\\", " ").replace('"', "'")
