"""One service of a device: its port, its connection, its registration, its calls (SPEC A to C, F1).

A service is a user agent of its own (SPEC A8).  It comes up as far as it can,
says in one line what is missing, and goes on trying.  Which address the host
has, and which other services there are, the device knows.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sipcore.admission import make_source_filter
from sipcore.call import IncomingCall, OutgoingCall
from sipcore.config import Service
from sipcore.credentials import ServiceCredentials
from sipcore.digest import DigestClient
from sipcore.env import Listener
from sipcore.errors import LocateError, TransportError, UsageError
from sipcore.finding import Finder
from sipcore.keeper import Keeper
from sipcore.link import Link
from sipcore.no_media import make_silent_answer, make_silent_offer
from sipcore.policy.actions import Note
from sipcore.policy.backoff import BackOff
from sipcore.policy.decisions import Decision
from sipcore.policy.forms import address_of_record_uri, callee_uri, contact_uri, register_uri
from sipcore.policy.keepalive import KeepAlive, plan_keep_alive
from sipcore.policy.locate import Site
from sipcore.policy.outbound import STREAMS
from sipcore.policy.register import plan_registration
from sipcore.policy.registration import Registered, RegistrationMachine
from sipcore.registrant import Registrant
from sipcore.routing import SERVER_NAMES, Router, server_sites
from sipcore.stack import Stack
from sipcore.status import (
    NOT_CONFIGURED,
    NOT_REQUIRED,
    STOPPED,
    ServiceStatus,
    format_unusable,
    whole_seconds,
    without_countdown,
)
from sipcore.tls import make_client_context, make_server_context
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.device")

MAXIMUM_DECISIONS = 64
OLD_PORT_LIFE = 32.0  # seconds that a socket that was moved away from stays open (SPEC A3)

CallHandler = Callable[[IncomingCall], Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every service of a device shares; `answer` and `answer_body` say what becomes of incoming calls."""

    stack: Stack
    instance: str = ""
    answer: str = "busy"
    answer_body: bytes = b""


class ServiceProvider:
    """SPn of a device: `status` in the device's words, `registered()`, `call()`, `on_invite()`.

    `decisions` are the last reasons, newest last; `registrations` counts the REGISTERs that were granted.
    Made stopped; the device starts and stops it.
    """

    def __init__(self, config: Service, surroundings: Surroundings, on_change: Callable[[], None]) -> None:
        self.number = config.number
        self.config = config
        self.decisions: deque[Decision | str] = deque(maxlen=MAXIMUM_DECISIONS)
        self.user_agent: UserAgent | None = None
        self.links: dict[str, Link] = {}
        self.registrant: Registrant | None = None
        self.keeper: Keeper | None = None
        self.registrations = 0
        self._surroundings = surroundings
        self._env = surroundings.stack.env
        self._on_change = on_change
        self._finder = Finder(self._env, serve_stale=config.profile.dns_serve_stale)
        self._router: Router | None = None
        self._digest = DigestClient(
            config.auth_user_name,
            config.auth_password,
            random=self._env.random,
            allowed_realms=config.profile.auth_realms,
        )
        self._client_tls: ssl.SSLContext | None = None
        self._local_host = ""
        self._handler: CallHandler | None = None
        self._back_off = BackOff(self._env.random)
        self._unusable = ""
        self._next_start = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._ended = False
        self._stopped = False
        self._waiters: list[asyncio.Future[None]] = []
        self._logged = ""
        self._session_id = self._env.random.getrandbits(31)

    # for the application

    @property
    def status(self) -> str:
        """One line in the device's words (SPEC F1)."""
        return self.report().status

    @property
    def is_registered(self) -> bool:
        """A binding that was granted still lives."""
        return self.registrant is not None and self.registrant.machine.is_bound(self._env.now())

    @property
    def is_ready(self) -> bool:
        """Calls can be made: registered, or up where no registration is wanted (SPEC B1)."""
        if not self.config.register_enable:
            return self.user_agent is not None and not self._ended
        return self.is_registered

    async def registered(self, timeout: float | None = None) -> None:
        """Wait until the service can make calls; TimeoutError with its status when that takes longer than `timeout`."""
        try:
            async with asyncio.timeout(timeout):
                while not self.is_ready:
                    await self._news()
        except TimeoutError:
            raise TimeoutError(f"SP{self.number}: {self.status}") from None

    def call(self, callee: str, *, body: bytes = b"", timeout: float | None = None, **arguments: Any) -> OutgoingCall:
        """Call a URI, or a user or number at the ProxyServer (SPEC C4).

        `await` it for the answer, or `async with` it.  Without a `body` an inactive
        audio stream is offered.  UsageError while the service is not up.
        """
        if self.user_agent is None or self._ended:
            raise UsageError(f"SP{self.number} is not up: {self.status}")
        offer = body or make_silent_offer(self._local_host, self._new_session_id())
        return self.user_agent.dial(
            callee_uri(self.config, callee), body=offer, timeout=timeout, routes=self._service_route(), **arguments
        )

    def on_invite(self, handler: CallHandler) -> CallHandler:
        """Give incoming calls of this service a handler, in place of what the configuration says."""
        self._handler = handler
        return handler

    def report(self) -> ServiceStatus:
        """Everything an operator sees of the service."""
        host, port = self._server()
        now = self._env.now()
        machine = self.registrant.machine if self.registrant is not None else None
        bound = machine is not None and machine.is_bound(now)
        return ServiceStatus(
            sp=self.number,
            status=self._words(now),
            registered=bound,
            server=host,
            port=port,
            expires_in=whole_seconds(machine.bound_until - now) if bound and machine and machine.bound_until else None,
            retry_in=self._retry_in(now),
            calls=len(self.user_agent.calls) if self.user_agent is not None else 0,
            connection="" if self._stopped else ", ".join(link.status() for link in self.links.values()),
            decisions=tuple(str(decision) for decision in self.decisions),
        )

    def as_dict(self) -> dict[str, object]:
        """`report` as plain values, for JSON."""
        return self.report().as_dict()

    # for the device

    def start(self, local_host: str) -> None:
        """Come up on `local_host`, now or as soon as the port is to be had; returns at once."""
        self._local_host = local_host
        if self.config.is_configured and self._starting is None:
            self._starting = self._env.loop.create_task(self._come_up())
            self._starting.add_done_callback(self._came_up)

    def refuse(self, why: str, retry_in: float) -> None:
        """The device has no address to start it on."""
        self._unusable, self._next_start = why, self._env.now() + retry_in
        self._changed()

    async def stop(self) -> None:
        """Hang up, de-register within a bounded time (SPEC B16), close."""
        if self._ended:
            return
        self._ended = True
        if self._starting is not None:
            self._starting.cancel()
        if self.user_agent is not None:
            for call in tuple(self.user_agent.calls):
                call.hang_up()
            if self.keeper is not None:
                self.keeper.stop()
            await self._deregister()
            for link in self.links.values():
                link.stop()
            await self.user_agent.close(timeout=1.0)
        self._stopped = True
        self._changed()

    async def move(self, local_host: str) -> None:
        """The host has another address: bind, connect and register anew, once (SPEC A1)."""
        if self.user_agent is None or self._ended or local_host == self._local_host:
            self._local_host = local_host
            return
        self._local_host = local_host
        old = tuple(self.user_agent.listeners)
        self.user_agent.listeners.clear()
        for listener in old:
            listener.close()
        await self._listen_until_it_works(self.user_agent)
        for link in self.links.values():
            link.restart(f"the local address is now {local_host}")
        if self.registrant is not None:
            machine = self.registrant.machine
            self.registrant.tell(machine.on_address_changed, local_host, self._port())

    # coming up

    async def _come_up(self) -> None:
        user_agent = self._surroundings.stack.user_agent(f"SP{self.number}")
        try:
            await self._listen_until_it_works(user_agent)
        except asyncio.CancelledError:
            user_agent.drop()
            raise
        self._router = Router(self.config, user_agent, self._finder, self.links, self._local_host)
        router = self._router
        accepts = make_source_filter(self.config, router.is_own_server, router.is_dialog_peer)
        user_agent.engine.set_source_filter(user_agent.id, accepts)
        user_agent.next_hop = router
        if self.config.auth_password:
            user_agent.authorize = ServiceCredentials(self._digest, self._is_from_own_server, self.on_note)
        user_agent.identity = address_of_record_uri(self.config)
        user_agent.local_contact = self._contact
        user_agent.on_decision = self._decided
        user_agent.on_invite(self._incoming)
        self.user_agent = user_agent
        self._make_links(user_agent)
        if self.config.register_enable:
            self._make_registrant(user_agent)
        self._make_keeper(user_agent)
        for link in self.links.values():
            link.start()
        if self.registrant is not None:
            self.registrant.tell(self.registrant.machine.on_start)
        self._changed()

    def _came_up(self, task: asyncio.Task[None]) -> None:
        """A fault of ours must be seen, and must not look like a service on its way."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("SP%d could not be brought up", self.number, exc_info=task.exception())
            self._unusable, self._next_start = f"internal error: {task.exception()}", self._env.now()

    async def _listen_until_it_works(self, user_agent: UserAgent) -> None:
        """Bind the contact port in every transport that the service speaks; a port in use is tried again (SPEC A2)."""
        user_agent.accepts = self._accepts
        while True:
            try:
                await self._listen(user_agent)
            except TransportError as error:
                for listener in user_agent.listeners:
                    listener.close()
                user_agent.listeners.clear()
                wait = self._back_off.next_wait()
                self.refuse(str(error), wait)
                await asyncio.sleep(wait)
            else:
                self._unusable = ""
                self._back_off.reset()
                return

    async def _listen(self, user_agent: UserAgent) -> None:
        """The contact port in every transport; TLS only with a certificate of our own (SPEC A2, C10)."""
        address = f"{_bracketed(self._local_host)}:{self.config.user_agent_port}"
        for transport in self._transports():
            tls = make_server_context(self.config.profile) if transport == "tls" else None
            if transport == "tls":
                self._client_tls = make_client_context(self.config.profile)
            if transport != "tls" or tls is not None:
                await user_agent.listen(transport, address, ssl=tls)

    def _transports(self) -> list[str]:
        """Those of the service's servers, each once."""
        sites = server_sites(self.config.profile, ("A",)).values()
        return list(dict.fromkeys(site.transport or "udp" for site in sites))

    def _accepts(self, remote_host: str) -> bool:
        """Connections are taken from the service's own servers only (SPEC A2)."""
        return self._router is not None and self._router.is_own_server(remote_host)

    def _make_links(self, user_agent: UserAgent) -> None:
        """One supervised connection to each server that is reached on a stream (SPEC C5, C7)."""
        assert self._router is not None
        for owner, site in server_sites(self.config.profile, self._router.address_types).items():
            if site.transport in STREAMS:
                name = f"{SERVER_NAMES[owner]} {site.host}"
                tls = self._client_tls if site.transport == "tls" else None
                self.links[owner] = Link(self, user_agent, self._finder, site, name, bind=self._source, ssl=tls)

    def _make_registrant(self, user_agent: UserAgent) -> None:
        machine = RegistrationMachine(
            plan_registration(self.config, instance=self._surroundings.instance),
            host=self._local_host,
            port=self._port(),
            random=self._env.random,
            authenticator=self._digest if self.config.auth_password else None,
        )
        self.registrant = Registrant(self, user_agent, machine, self._changed)

    def _make_keeper(self, user_agent: UserAgent) -> None:
        """Keep-alives, if they are wanted: from now on with datagrams, else while there is a connection (SPEC B15)."""
        plan = plan_keep_alive(self.config)
        if plan is None:
            return
        machine = KeepAlive(plan, stream=self._registration_link() is not None, random=self._env.random)
        self.keeper = Keeper(self, user_agent, self._finder, machine, register_uri(self.config))
        user_agent.pong = self.keeper.pong
        if not machine.stream:
            self.keeper.start()

    def _registration_site(self) -> Site:
        assert self._router is not None
        sites = server_sites(self.config.profile, self._router.address_types)
        return sites.get("outbound") or sites.get("registrar") or sites["proxy"]

    def _source(self) -> tuple[str, int]:
        """Where connections start from (SPEC A2)."""
        return self._local_host, self._port() if self.config.bind_stream_port else 0

    def _port(self) -> int:
        """The contact port that is really bound."""
        listeners: Sequence[Listener] = self.user_agent.listeners if self.user_agent is not None else ()
        return listeners[0].port if listeners else self.config.user_agent_port

    def _contact(self, transport: str) -> str:
        if self.registrant is not None:
            host, port = self.registrant.machine.contact_address
        else:
            host, port = self._local_host, self._port()
        return contact_uri(self.config, host, port, transport)

    async def _deregister(self) -> None:
        if self.registrant is None:
            return
        self.registrant.tell(self.registrant.machine.on_stop)
        while not self.registrant.stopped:
            await self._news()
        self.registrant.close()

    # what links and registration tell

    def on_link_up(self, link: Link) -> None:
        logger.info("SP%d: %s", self.number, link.status())
        if self.registrant is not None and link is self._registration_link():
            self.registrant.tell(self.registrant.machine.on_connected)
        if self.keeper is not None and link is self._registration_link():
            self.keeper.start()
        self._changed()

    def on_link_down(self, link: Link, why: str) -> None:
        if self.registrant is not None and link is self._registration_link():
            self.registrant.tell(self.registrant.machine.on_lost)
        if self.keeper is not None and link is self._registration_link():
            self.keeper.stop()
        self._changed()

    def keep_alive_flow(self) -> int:
        """Where REGISTER went last: its connection, or its datagrams; 0 before there is one (SPEC B15)."""
        link = self._registration_link()
        if link is not None:
            return link.flow
        found = self._finder.last(self._registration_site()) if self._router is not None else None
        if found is None or self.user_agent is None:
            return 0
        return self.user_agent.datagram_flow(found.target.address, found.target.port)

    def close_path(self, why: str) -> None:
        """The far end of the connection is dead; the supervisor connects anew."""
        link = self._registration_link()
        if link is not None and link.flow and self.user_agent is not None:
            self.user_agent.disconnect(link.flow, why)

    def on_note(self, note: Note) -> None:
        again = "" if note.next_attempt is None else f"; next attempt in {note.next_attempt - self._env.now():.1f}s"
        self.decisions.append(f"{note.what} ({note.rule}){again}")
        logger.info("SP%d: %s", self.number, self.decisions[-1])
        self._changed()

    def on_registered(self, registered: Registered) -> None:
        self.registrations += 1
        if self._router is not None:
            self._router.registered_with = registered.target

    def on_unregistered(self, why: str) -> None:
        logger.warning("SP%d: no longer registered: %s", self.number, why)

    def on_answer(self) -> None:
        """A connection that carried an answer counts as good (SPEC C6)."""
        link = self._registration_link()
        if link is not None:
            link.request_succeeded()

    def find_candidates(self) -> None:
        """Every server that the registration's next hop may be (SPEC B12)."""
        if self.user_agent is not None:
            self.user_agent.start_task(self._find_candidates())

    async def _find_candidates(self) -> None:
        assert self.registrant is not None
        machine = self.registrant.machine
        try:
            found = await self._finder.find(self._registration_site())
        except LocateError as error:
            self.registrant.tell(machine.on_unreachable, 0, str(error))
        else:
            self.registrant.tell(machine.on_candidates, found.located.targets, found.located.ttl)

    def use_port(self, port: int) -> None:
        """Move the UDP socket to another local port, keeping the old one for what is still on its way (SPEC A3)."""
        user_agent = self.user_agent
        if user_agent is None:
            return
        old = tuple(user_agent.listeners)
        try:
            moved = self._env.open_datagrams(user_agent.driver, self._local_host, port, user_agent=user_agent.id)
        except TransportError as error:
            logger.info("SP%d: stays on its port: %s", self.number, error)
            return
        user_agent.listeners[:0] = [moved]

        def close_old() -> None:
            for listener in old:
                listener.close()
                if listener in user_agent.listeners:
                    user_agent.listeners.remove(listener)

        user_agent.engine.start_timer(self._env.now() + OLD_PORT_LIFE, close_old)

    def _registration_link(self) -> Link | None:
        return self.links.get("outbound") or self.links.get("registrar") or self.links.get("proxy")

    def _service_route(self) -> tuple[str, ...]:
        return self.registrant.machine.service_route if self.registrant is not None else ()

    # requests and calls

    def _is_from_own_server(self, flow: int) -> bool:
        if self.user_agent is None or self._router is None:
            return False
        try:
            remote_host = self.user_agent.engine.flow_info(flow)[3]
        except TransportError:
            return False
        return self._router.is_own_server(remote_host)

    async def _incoming(self, call: IncomingCall) -> None:
        self._changed()
        try:
            if self._handler is not None:
                result = self._handler(call)
                if inspect.isawaitable(result):
                    await result
            else:
                await self._take(call)
        finally:
            self._changed()

    async def _take(self, call: IncomingCall) -> None:
        """What the configuration says of incoming calls: busy, or answered with its body or an inactive one."""
        if self._surroundings.answer != "answer":
            await call.reject(486)
            return
        body = self._surroundings.answer_body
        if not body and call.body:
            body = make_silent_answer(call.body, self._local_host, self._new_session_id()) or b""
            if not body:
                await call.reject(488)
                return
        await call.answer(body or make_silent_offer(self._local_host, self._new_session_id()))

    def _new_session_id(self) -> int:
        self._session_id += 1
        return self._session_id

    # what is seen of it

    def _decided(self, decision: Decision) -> None:
        self.decisions.append(decision)
        logger.info("SP%d: %s", self.number, decision)
        self._changed()

    def _words(self, now: float) -> str:
        if not self.config.is_configured:
            return NOT_CONFIGURED
        if self._stopped:
            return STOPPED
        if self._unusable:
            return format_unusable(self._unusable, self._next_start - now)
        if not self.config.register_enable:
            return NOT_REQUIRED
        if self.registrant is None:
            return "Starting"
        link = self._registration_link()
        if link is not None and link.next_attempt is not None and not self.registrant.stopped:
            return link.status()
        return self.registrant.machine.status(now)

    def _retry_in(self, now: float) -> int | None:
        link = self._registration_link()
        if self._unusable:
            return whole_seconds(self._next_start - now)
        if link is not None and link.next_attempt is not None:
            return whole_seconds(link.next_attempt - now)
        machine = self.registrant.machine if self.registrant is not None else None
        if machine is None or machine.next_attempt is None or machine.is_registered:
            return None
        return whole_seconds(machine.next_attempt - now)

    def _server(self) -> tuple[str, int]:
        """Where the registration lives, or the far end of the connection."""
        link = self._registration_link()
        if link is not None and link.found is not None:
            return link.found.target.address, link.found.target.port
        server = self.registrant.machine.server if self.registrant is not None else ""
        host, _, port = server.rpartition(":")
        return (host.strip("[]"), int(port)) if port.isdigit() else ("", 0)

    def _changed(self) -> None:
        """Tell the log what is new, and whoever waits for news."""
        words = without_countdown(self._words(self._env.now()))
        if words != self._logged:
            self._logged = words
            logger.info("SP%d: %s", self.number, self.status)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._on_change()

    def _news(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._env.loop.create_future()
        self._waiters.append(waiter)
        return waiter


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
