"""One service of a device: its port, its connection, its registration, its calls (SPEC A to C, F1).

A service is a user agent of its own (SPEC A8).  It comes up as far as it can,
says in one line what is missing, and goes on trying.  Which address the host
has, and which other services there are, the device knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sipcore.admission import make_source_filter
from sipcore.answering import Answering, CallHandler
from sipcore.call import IncomingCall, OutgoingCall
from sipcore.config import Service
from sipcore.contact_port import ContactPort
from sipcore.credentials import ServiceCredentials
from sipcore.digest import DigestClient
from sipcore.errors import TransportError, UsageError
from sipcore.finding import CandidateLocator, Finder, Locator, SiteLocator
from sipcore.keeper import Keeper
from sipcore.link import Link
from sipcore.local_address import address_types
from sipcore.outgoing import ClientTransaction
from sipcore.policy.actions import Note
from sipcore.policy.candidates import Candidates
from sipcore.policy.decisions import Decision, DecisionRing
from sipcore.policy.forms import address_of_record_uri, callee_uri, contact_uri, register_uri
from sipcore.policy.keepalive import KeepAlive, plan_keep_alive
from sipcore.policy.locate import AddressType, Site
from sipcore.policy.outbound import STREAMS
from sipcore.policy.register import plan_registration
from sipcore.policy.registration import Registered, RegistrationMachine
from sipcore.registering import Registering
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
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.device")


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
        self.decisions = DecisionRing()
        self.user_agent: UserAgent | None = None
        self.links: dict[str, Link] = {}
        self.registering: Registering | None = None
        self.keeper: Keeper | None = None
        self.registrations = 0
        self._surroundings = surroundings
        self._env = surroundings.stack.env
        self._tell_device = on_change
        self._finder = Finder(self._env, serve_stale=config.profile.dns_serve_stale)
        self._router: Router | None = None
        self._port: ContactPort | None = None
        self._digest = DigestClient(
            config.auth_user_name,
            config.auth_password,
            random=self._env.random,
            allowed_realms=config.profile.auth_realms,
        )
        self._local_host = ""
        self._answering = Answering(
            surroundings.answer, surroundings.answer_body, lambda: self._local_host, self._env.random.getrandbits(31)
        )
        self._unusable = ""
        self._next_start = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._ended = False
        self._stopped = False
        self._waiters: list[asyncio.Future[None]] = []
        self._logged = ""

    # for the application

    @property
    def status(self) -> str:
        """One line in the device's words (SPEC F1)."""
        return self.report().status

    @property
    def is_registered(self) -> bool:
        """A binding that was granted still lives."""
        return self.registering is not None and self.registering.is_bound()

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
        return self.user_agent.dial(
            callee_uri(self.config, callee),
            body=body or self._answering.offer(),
            timeout=timeout,
            **arguments,
        )

    def on_invite(self, handler: CallHandler) -> CallHandler:
        """Give incoming calls of this service a handler, in place of what the configuration says."""
        self._answering.handler = handler
        return handler

    def report(self) -> ServiceStatus:
        """Everything an operator sees of the service."""
        now = self._env.now()
        machine = self.registering.machine if self.registering is not None else None
        bound_until = machine.bound_until if machine is not None and machine.is_bound(now) else None
        primary = self.registering.report() if self.registering is not None else None
        secondary = self.registering.report_secondary() if self.registering is not None else None
        host, port = self._server(primary.server if primary is not None else "")
        return ServiceStatus(
            sp=self.number,
            status=self._words(),
            registered=bound_until is not None,
            server=host,
            port=port,
            expires_in=whole_seconds(bound_until - now) if bound_until is not None else None,
            retry_in=self._retry_in(),
            calls=len(self.user_agent.calls) if self.user_agent is not None else 0,
            connection="" if self._stopped else ", ".join(link.status() for link in self.links.values()),
            candidates=primary.candidates if primary is not None and not self._stopped else (),
            secondary=None if secondary is None or self._stopped else secondary,
            warnings=self.config.warnings,
            decisions=tuple(str(decision) for decision in self.decisions),
        )

    def as_dict(self) -> dict[str, object]:
        """`report` as plain values, for JSON."""
        return self.report().as_dict()

    # for the device

    def start(self, local_host: str) -> None:
        """Come up on `local_host`, now or as soon as the port is to be had; returns at once."""
        self._local_host = local_host
        for warning in self.config.warnings:
            logger.warning("SP%d: %s", self.number, warning)
        if self.config.is_configured and self._starting is None:
            self._starting = self._env.loop.create_task(self._come_up())
            self._starting.add_done_callback(self._came_up)

    def refuse(self, why: str, retry_in: float) -> None:
        """It cannot be started now: the device has no address for it, or its port is taken."""
        self._unusable, self._next_start = why, self._env.now() + retry_in
        self.on_change()

    async def stop(self) -> None:
        """Hang up, de-register within a bounded time (SPEC B16), close."""
        if self._ended:
            return
        self._ended = True
        for task in (self._starting, self._moving):
            if task is not None:
                task.cancel()
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
        self.on_change()

    def move(self, local_host: str) -> None:
        """The host has another address: bind, connect and register anew, once (SPEC A1); returns at once."""
        self._local_host = local_host
        if self._moving is not None:
            self._moving.cancel()
        if self.user_agent is not None and not self._ended:
            self._moving = self._env.loop.create_task(self._move(local_host))
            self._moving.add_done_callback(self._came_up)

    async def _move(self, local_host: str) -> None:
        assert self._port is not None  # there is a user agent
        await self._port.move()
        self._unusable = ""
        self._look_for_servers(address_types(local_host))
        for link in self._own_links():
            link.restart(f"the local address is now {local_host}")
        if self.registering is not None:
            self.registering.move(local_host, self._port.number)

    def _look_for_servers(self, types: tuple[AddressType, ...]) -> None:
        """From IPv4 to IPv6, or back: the servers have to be found by the other kind of address (SPEC A1, D2)."""
        router = self._router
        if router is None or router.address_types == types:
            return
        router.address_types = types
        for owner, site in server_sites(self.config.profile, types).items():
            if owner in self.links:
                self.links[owner].look_for(site)
        if self.registering is not None:
            self.registering.look_for(self._registration_server(router)[1])

    def refresh(self) -> None:
        """The servers may be reached again: register now, but where an attempt runs or a SIP answer ordered a wait."""
        if self.registering is not None:
            self.registering.refresh()

    # coming up

    async def _come_up(self) -> None:
        user_agent = self._surroundings.stack.user_agent(f"SP{self.number}")
        user_agent.accepts = self._accepts
        self._port = ContactPort(self.config, user_agent, lambda: self._local_host, self.refuse)
        try:
            await self._port.open()
        except asyncio.CancelledError:
            user_agent.drop()
            raise
        self._unusable = ""
        types = address_types(self._local_host)
        self._router = Router(self.config, user_agent, self._finder, self.links, types)
        self._furnish(user_agent, self._router)
        self.user_agent = user_agent
        if self.config.register_enable:
            self.registering = self._make_registering(user_agent, self._router)
        elif self.config.profile.proxy_server_redundancy:
            candidates = Candidates()
            self._router.candidates = lambda: candidates
        self._make_links(self._router)
        self._make_keeper(user_agent)
        for link in self._own_links():
            link.start()
        if self.registering is not None:
            self.registering.start()
        self.on_change()

    def _furnish(self, user_agent: UserAgent, router: Router) -> None:
        """Everything of the user agent that is this service's own."""
        accepts = make_source_filter(self.config, router.is_own_server, router.is_dialog_peer)
        user_agent.engine.set_source_filter(user_agent.id, accepts)
        user_agent.next_hop = router
        if self.config.auth_password:
            user_agent.authorize = ServiceCredentials(self._digest, self._is_from_own_server, self.on_note)
        user_agent.identity = address_of_record_uri(self.config)
        user_agent.local_contact = self._contact
        user_agent.on_decision = self._decided
        user_agent.on_ended = self._request_ended
        user_agent.on_invite(self._incoming)

    def _came_up(self, task: asyncio.Task[None]) -> None:
        """A fault of ours must be seen, and must not look like a service on its way."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("SP%d could not be brought up", self.number, exc_info=task.exception())
            self._unusable, self._next_start = f"internal error: {task.exception()}", self._env.now()

    def _make_registering(self, user_agent: UserAgent, router: Router) -> Registering:
        profile = self.config.profile

        def make(secondary: bool) -> RegistrationMachine:
            return RegistrationMachine(
                plan_registration(self.config, instance=self._surroundings.instance, secondary=secondary),
                host=self._local_host,
                port=self._bound_port(),
                random=self._env.random,
                authenticator=self._digest if self.config.auth_password else None,
            )

        site = self._registration_server(router)[1]
        second = profile.secondary_registration
        registering = Registering(self, user_agent, self._finder, site, make, secondary=second, follow=router.follow)
        router.candidates = lambda: registering.candidates
        return registering

    def _make_links(self, router: Router) -> None:
        """One supervised connection to each server that is reached on a stream (SPEC C5, C7)."""
        for owner, site in server_sites(self.config.profile, router.address_types).items():
            if site.transport in STREAMS and owner not in self.links:
                self.links[owner] = self._make_link(owner, site, self._locator(router, site), "")

    def _locator(self, router: Router, site: Site) -> Locator:
        """Where a connection leads that no registration decides."""
        candidates = router.candidates()
        if candidates is None or self.registering is not None:
            return SiteLocator(self._finder, site)
        return CandidateLocator(self._finder, site, candidates)

    def _make_link(self, owner: str, site: Site, locator: Locator, which: str) -> Link:
        assert self.user_agent is not None and self._port is not None  # links are made once it is up
        name = f"{SERVER_NAMES[owner]} {site.host}{which}"
        tls = self._port.client_tls if site.transport == "tls" else None
        return Link(self, self.user_agent, locator, name, server_name=site.host, bind=self._source, ssl=tls)

    def _make_keeper(self, user_agent: UserAgent) -> None:
        """Keep-alives, if they are wanted: from now on with datagrams, else while there is a connection (SPEC B15)."""
        plan = plan_keep_alive(self.config)
        if plan is None:
            return
        machine = KeepAlive(plan, stream=self._registration_link() is not None, random=self._env.random)
        assert self._router is not None  # it is made before
        self.keeper = Keeper(
            self, user_agent, self._finder, machine, register_uri(self.config), site=self._router.site_of
        )
        user_agent.pong = self.keeper.pong
        if not machine.stream:
            self.keeper.start()

    def _accepts(self, remote_host: str) -> bool:
        """Connections are taken from the service's own servers only (SPEC A2)."""
        return self._router is not None and self._router.is_own_server(remote_host)

    def _registration_server(self, router: Router) -> tuple[str, Site]:
        """Whose connection carries REGISTER, and where it leads (SPEC C1, C7)."""
        sites = server_sites(self.config.profile, router.address_types)
        owner = next(owner for owner in ("outbound", "registrar", "proxy") if owner in sites)
        return owner, sites[owner]

    def _source(self) -> tuple[str, int]:
        """Where connections start from (SPEC A2)."""
        return self._local_host, self._bound_port() if self.config.bind_stream_port else 0

    def _bound_port(self) -> int:
        return self._port.number if self._port is not None else self.config.user_agent_port

    def _contact(self, transport: str) -> str:
        """Where it can be reached, whatever the one request goes over (SPEC C4)."""
        served = self._port.transports if self._port is not None else [transport]
        transport = transport if transport in served else served[0]
        if self.registering is not None:
            host, port = self.registering.machine.contact_address
        else:
            host, port = self._local_host, self._bound_port()
        return contact_uri(self.config, host, port, transport)

    async def _deregister(self) -> None:
        if self.registering is None:
            return
        self.registering.stop()
        while not self.registering.stopped:
            await self._news()
        self.registering.close()

    # what links and registrations tell

    def make_link(self, locator: Locator, *, secondary: bool) -> Link | None:
        """The connection of one registration (SPEC C5)."""
        assert self._router is not None  # it is made before the registrations
        owner, site = self._registration_server(self._router)
        if site.transport not in STREAMS:
            return None
        link = self._make_link(owner, site, locator, ", secondary registration" if secondary else "")
        if not secondary:
            self.links[owner] = link
        return link

    def on_primary(self, link: Link | None) -> None:
        self._take_service_route()
        if link is not None:
            assert self._router is not None  # the link was made with it
            self.links[self._registration_server(self._router)[0]] = link
            self._keep_alive(link)

    def on_link_up(self, link: Link) -> None:
        logger.info("SP%d: %s", self.number, link.status())
        if self.registering is not None:
            self.registering.on_link_up(link)
        self._keep_alive(link)
        self.on_change()

    def on_link_moved(self, link: Link) -> None:
        logger.info("SP%d: moved: %s", self.number, link.status())
        self._keep_alive(link)
        self.on_change()

    def on_link_down(self, link: Link, why: str) -> None:
        if self.keeper is not None and link is self._registration_link():
            self.keeper.stop()
        if self.registering is not None:
            self.registering.on_link_down(link)
        self.on_change()

    def _keep_alive(self, link: Link) -> None:
        """This connection is new, or carries the registration from now on (SPEC B15)."""
        if self.keeper is not None and link.is_up and link is self._registration_link():
            self.keeper.start()
            self.keeper.agree(self.registering.keep if self.registering is not None else None)

    def keep_alive_flow(self) -> int:
        """Where REGISTER goes: its connection, or its datagrams; 0 before there is one (SPEC B15)."""
        if self.registering is not None:
            return self.registering.flow()
        link = self._registration_link()
        if link is not None:
            return link.flow
        return self._router.datagrams_to(self._registration_server(self._router)[1]) if self._router is not None else 0

    def close_path(self, why: str) -> None:
        """The far end of the connection is dead; the supervisor connects anew."""
        link = self._registration_link()
        if link is not None and link.flow and self.user_agent is not None:
            self.user_agent.disconnect(link.flow, why)

    def on_note(self, note: Note) -> None:
        again = "" if note.next_attempt is None else f"; next attempt in {note.next_attempt - self._env.now():.1f}s"
        self.decisions.append(f"{note.what} ({note.rule}){again}")
        logger.info("SP%d: %s", self.number, self.decisions.latest)
        self.on_change()

    def on_registered(self, registered: Registered) -> None:
        self.registrations += 1
        self._take_service_route()
        if self.keeper is not None and self.registering is not None:
            self.keeper.agree(self.registering.keep)

    def _take_service_route(self) -> None:
        """What stands in Route of every request outside of dialogs but REGISTER (SPEC B16, RFC 3608)."""
        if self.user_agent is not None and self.registering is not None:
            self.user_agent.preset_routes = self.registering.machine.service_route

    def on_unregistered(self, why: str) -> None:
        logger.warning("SP%d: no longer registered: %s", self.number, why)

    def use_port(self, port: int) -> None:
        """REGISTER got no answer: another local port (SPEC A3)."""
        if self._port is not None:
            self._port.use(port)

    def _request_ended(self, transaction: ClientTransaction) -> None:
        """A connection that carried a request to its answer counts as good (SPEC C6)."""
        if transaction.response is not None:
            for link in self.links.values():
                if link.flow == transaction.flow:
                    link.request_succeeded()

    def _registration_link(self) -> Link | None:
        return self.links[self._registration_server(self._router)[0]] if self.links and self._router else None

    def _own_links(self) -> list[Link]:
        """The connections that no registration keeps."""
        return [link for link in self.links.values() if self.registering is None or not self.registering.has(link)]

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
        self.on_change()
        try:
            await self._answering.take(call)
        finally:
            self.on_change()

    # what is seen of it

    def _decided(self, decision: Decision) -> None:
        self.decisions.append(decision)
        logger.info("SP%d: %s", self.number, decision)
        self.on_change()

    def _words(self) -> str:
        if not self.config.is_configured:
            return NOT_CONFIGURED
        if self._stopped:
            return STOPPED
        if self._unusable:
            return format_unusable(self._unusable, self._next_start - self._env.now())
        if not self.config.register_enable:
            return NOT_REQUIRED
        return self.registering.report().status if self.registering is not None else "Starting"

    def _retry_in(self) -> int | None:
        now = self._env.now()
        if self._unusable:
            return whole_seconds(self._next_start - now)
        if self.registering is not None:
            return self.registering.retry_in()
        waits = [link.next_attempt for link in self.links.values() if link.next_attempt is not None]
        return whole_seconds(min(waits) - now) if waits else None

    def _server(self, registered_with: str) -> tuple[str, int]:
        """Where the registration lives, or the far end of the connection."""
        link = self._registration_link()
        if link is not None and link.target is not None:
            return link.target.address, link.target.port
        host, _, port = registered_with.rpartition(":")
        return (host.strip("[]"), int(port)) if port.isdigit() else ("", 0)

    def on_change(self) -> None:
        """Tell the log what is new, and whoever waits for news."""
        words = without_countdown(self._words())
        if words != self._logged:
            self._logged = words
            logger.info("SP%d: %s", self.number, self.status)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._tell_device()

    def _news(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._env.loop.create_future()
        self._waiters.append(waiter)
        return waiter
