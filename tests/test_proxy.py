"""The proxy on the simulated network: RFC 3261 section 16, RFC 5626 section 5.3, FAULTS 27."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from sipcore import sim
from sipcore._message import Request, build_response, parse
from sipcore.call import IncomingCall
from sipcore.errors import CallBusy, CallError, CallRejected
from sipcore.forking import _rank
from sipcore.proxy import Proxy, Target
from sipcore.registrar import Registrar
from sipcore.sim import SimNetwork
from sipcore.simnet import DatagramPeer
from sipcore.stack import Stack
from sipcore.user_agent import UserAgent

PROXY = "192.0.2.10"
CALLER = "192.0.2.1"
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


class Site:
    """A proxy with scripted targets, and hosts around it."""

    def __init__(self, network: SimNetwork) -> None:
        self.network = network
        self.stacks: list[Stack] = []
        self.targets: list[Target] | None = None
        self.agent = self._stack(PROXY).user_agent("proxy", is_proxy=True)
        self.proxy = Proxy(self.agent, targets=lambda request: self.targets, path=True)

    def _stack(self, host: str) -> Stack:
        stack = Stack(env=self.network.env(host))
        self.stacks.append(stack)
        return stack

    async def user(self, host: str, transport: str = "udp") -> UserAgent:
        """A user agent on a host of its own, whose requests go to the proxy."""
        agent = self._stack(host).user_agent("user")
        await agent.listen(transport, f"{host}:5060")
        return agent

    def peer(self, host: str) -> DatagramPeer:
        return self.network.datagram_peer(host, 5060)


Story = Callable[[Site], Awaitable[None]]


def play(story: Story) -> None:
    async def main(network: SimNetwork) -> None:
        site = Site(network)
        await site.agent.listen("udp", f"{PROXY}:5060")
        await site.agent.listen("tcp", f"{PROXY}:5060")
        await story(site)
        for stack in site.stacks:
            await stack.close(timeout=0)

    sim.run(main)


def via_proxy(transport: str = "udp") -> list[str]:
    suffix = "" if transport == "udp" else f";transport={transport}"
    return [f"<sip:{PROXY}{suffix};lr>"]


def options(number: int, *, to: str = "sip:bob@192.0.2.2", headers: Sequence[str] = ()) -> bytes:
    lines = [f"OPTIONS {to} SIP/2.0", f"Via: SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bK{number};rport"]
    lines += [f"From: <sip:a@{CALLER}>;tag=1", f"To: <{to}>", f"Call-ID: {number}", f"CSeq: {number} OPTIONS", *headers]
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode()


async def final(peer: DatagramPeer) -> bytes:
    """The next message that is no 100 Trying."""
    while True:
        octets = (await asyncio.wait_for(peer.receive(), 60))[0]
        if not octets.startswith(b"SIP/2.0 100 "):
            return octets


async def exchange(peer: DatagramPeer, octets: bytes) -> bytes:
    peer.send(octets, (PROXY, 5060))
    return await final(peer)


@pytest.mark.parametrize(
    ("headers", "status_code"),
    [
        (["Max-Forwards: 0"], 483),
        (["Max-Forwards: 70", "Max-Breadth: 0"], 440),
        (["Max-Forwards: 70", "Max-Breadth: many"], 400),
        (["Max-Forwards: 70", "Proxy-Require: magic"], 420),
        (["Max-Forwards: 70", "Proxy-Require: "], 408),
    ],
)
def test_a_request_is_checked_before_it_is_forwarded(headers: list[str], status_code: int) -> None:
    """RFC 3261 section 16.3."""

    async def story(site: Site) -> None:
        peer = site.peer(CALLER)
        if status_code == 408:
            bob = site.peer("192.0.2.2")
            peer.send(options(1, headers=headers), (PROXY, 5060))
            forwarded = (await asyncio.wait_for(bob.receive(), 5))[0]
            assert b"Max-Forwards: 69\r\n" in forwarded
            assert forwarded.count(b"Via: ") == 2
            assert f";received={CALLER}".encode() in forwarded
        else:
            answer = await exchange(peer, options(1, headers=headers))
            assert answer.startswith(f"SIP/2.0 {status_code} ".encode())

    play(story)


def test_an_unknown_scheme_is_416_and_a_user_without_bindings_480() -> None:
    async def story(site: Site) -> None:
        peer = site.peer(CALLER)
        assert (await exchange(peer, options(1, to="magic:bob"))).startswith(b"SIP/2.0 416 ")
        site.targets = []
        assert (await exchange(peer, options(2))).startswith(b"SIP/2.0 480 ")

    play(story)


def test_a_request_that_comes_round_unchanged_is_a_loop() -> None:
    """FAULTS 27: 482, not seventy rounds."""

    async def story(site: Site) -> None:
        peer, bob = site.peer(CALLER), site.peer("192.0.2.2")
        peer.send(options(1, headers=["Max-Forwards: 70"]), (PROXY, 5060))
        looped = (await asyncio.wait_for(bob.receive(), 5))[0]
        top = b"Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKbob\r\nVia: "
        bob.send(looped.replace(b"Via: ", top, 1), (PROXY, 5060))
        answer = await final(bob)
        while answer.startswith(b"OPTIONS"):
            answer = await final(bob)
        assert answer.startswith(b"SIP/2.0 482 ")

    play(story)


def test_two_proxies_that_point_at_each_other_end_it_soon() -> None:
    """FAULTS 27: bounded messages."""

    async def story(site: Site) -> None:
        other = Stack(env=site.network.env("192.0.2.11"))
        site.stacks.append(other)
        agent = other.user_agent("other", is_proxy=True)
        await agent.listen("udp", "192.0.2.11:5060")
        Proxy(agent, targets=lambda request: [Target(f"sip:x@{PROXY}:5060")])
        site.targets = [Target("sip:x@192.0.2.11:5060")]
        peer = site.peer(CALLER)
        answer = await exchange(peer, options(1, to=f"sip:x@{PROXY}", headers=["Max-Forwards: 70"]))
        assert answer.startswith(b"SIP/2.0 482 ")
        assert site.agent.engine.stats()["requests"] <= 3

    play(story)


@pytest.mark.parametrize(
    ("headers", "shares"), [([], [20, 20, 20]), (["Max-Breadth: 7"], [2, 2, 2]), (["Max-Breadth: 3"], [1, 1, 1])]
)
def test_the_breadth_of_a_request_is_shared_out_among_its_branches(headers: list[str], shares: list[int]) -> None:
    """RFC 5393 section 5.3.3: together never more than came in; 60 where nothing was said."""
    hosts = ["192.0.2.2", "192.0.2.3", "192.0.2.4"]

    async def story(site: Site) -> None:
        site.targets = [Target(f"sip:bob@{host}") for host in hosts]
        bobs = [site.peer(host) for host in hosts]
        site.peer(CALLER).send(options(1, headers=["Max-Forwards: 70", *headers]), (PROXY, 5060))
        forwarded = [parse((await asyncio.wait_for(bob.receive(), 5))[0]) for bob in bobs]
        assert [message.max_breadth for message in forwarded] == shares

    play(story)


def test_a_fork_that_is_wider_than_the_breadth_left_is_440() -> None:
    """FAULTS 27, RFC 5393 section 5.3.3; also where the targets are found later."""

    async def story(site: Site) -> None:
        targets = [Target(f"sip:bob@192.0.2.{host}") for host in (2, 3, 4)]
        bob, peer = site.peer("192.0.2.2"), site.peer(CALLER)

        async def later(request: Request) -> list[Target]:
            await asyncio.sleep(0.1)
            return targets

        for number, choose in enumerate((lambda request: targets, later)):
            site.proxy.targets = choose
            octets = options(number + 1, headers=["Max-Forwards: 70", "Max-Breadth: 2"])
            assert (await exchange(peer, octets)).startswith(b"SIP/2.0 440 Max-Breadth Exceeded")
        assert not bob.received
        assert len(site.proxy) == 0

    play(story)


def two_accounts(site: Site) -> Proxy:
    """A second proxy at 192.0.2.11; each holds an account that goes to both accounts of the other (RFC 5393
    section 3: without bounds, a request becomes 2 ** 70)."""
    other = Stack(env=site.network.env("192.0.2.11"))
    site.stacks.append(other)
    agent = other.user_agent("other", is_proxy=True)
    site.targets = [Target("sip:a@192.0.2.11:5060"), Target("sip:b@192.0.2.11:5060")]
    back = [Target(f"sip:a@{PROXY}:5060"), Target(f"sip:b@{PROXY}:5060")]
    return Proxy(agent, targets=lambda request: back)


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
def test_two_accounts_that_fork_to_each_other_make_a_bounded_number_of_messages(method: str) -> None:
    """FAULTS 27, RFC 5393 section 3: loop detection leaves each of four Request-URIs to be passed once on a way."""

    async def story(site: Site) -> None:
        proxy = two_accounts(site)
        await proxy.user_agent.listen("udp", "192.0.2.11:5060")
        peer = site.peer(CALLER)
        octets = options(1, to=f"sip:a@{PROXY}", headers=["Max-Forwards: 70"]).replace(b"OPTIONS", method.encode())
        assert (await exchange(peer, octets)).startswith(b"SIP/2.0 482 ")
        stats = [agent.engine.stats() for agent in (site.agent, proxy.user_agent)]
        assert sum(each["requests"] for each in stats) <= 1 + 2 + 4 + 8 + 16
        await asyncio.sleep(64 * 0.5 + 5)
        for agent in (site.agent, proxy.user_agent):
            left = agent.engine.stats()
            assert left["server_transactions"] == left["client_transactions"] == left["timers"] == 0
        assert len(site.proxy) == len(proxy) == 0

    play(story)


def test_what_loops_with_another_destination_each_time_ends_with_its_breadth_and_its_hops() -> None:
    """FAULTS 27: no loop that a proxy could see; every round has a Request-URI of its own and two branches."""

    async def story(site: Site) -> None:
        proxy, counter = two_accounts(site), iter(range(1_000_000))
        await proxy.user_agent.listen("udp", "192.0.2.11:5060")

        def fresh(host: str) -> Callable[[Request], list[Target]]:
            return lambda request: [Target(f"sip:{next(counter)}@{host}:5060") for _ in range(2)]

        site.proxy.targets, proxy.targets = fresh("192.0.2.11"), fresh(PROXY)
        answer = await exchange(site.peer(CALLER), options(1, to=f"sip:a@{PROXY}", headers=["Max-Forwards: 70"]))
        assert answer.startswith(b"SIP/2.0 440 ")
        requests = sum(agent.engine.stats()["requests"] for agent in (site.agent, proxy.user_agent))
        assert requests <= 2 * 60, "sixty branches at most, and those that led to them"

    play(story)


@pytest.mark.parametrize("callee_transport", ["udp", "tcp"])
@pytest.mark.parametrize("caller_transport", ["udp", "tcp"])
def test_a_call_stays_on_the_path_in_both_directions(caller_transport: str, callee_transport: str) -> None:
    """RFC 3261 section 16.6 item 4, RFC 5658: two Record-Route values where the transport changes."""

    async def story(site: Site) -> None:
        caller = await site.user(CALLER, caller_transport)
        callee = await site.user("192.0.2.2", callee_transport)
        taken: list[IncomingCall] = []

        @callee.on_invite
        async def answer(call: IncomingCall) -> None:
            taken.append(call)
            await call.answer(SDP)

        suffix = "" if callee_transport == "udp" else ";transport=tcp"
        call = await caller.dial(f"sip:bob@192.0.2.2{suffix}", body=SDP, routes=via_proxy(caller_transport))
        values = taken[0].request.get_all("Record-Route")
        assert len(values) == (1 if caller_transport == callee_transport else 2)
        assert (await call.send("INFO")).status_code == 200
        assert (await taken[0].send("INFO")).status_code == 200
        await taken[0].bye()
        assert await asyncio.wait_for(call.ended(), 5)
        assert site.agent.engine.stats()["requests"] >= 4
        assert len(site.proxy) == 0

    play(story)


def test_the_best_of_several_answers_is_passed_on_and_the_others_are_cancelled() -> None:
    """RFC 3261 section 16.7: parallel forking, the first 2xx wins."""
    heard: list[str] = []

    async def story(site: Site) -> None:
        caller = await site.user(CALLER)
        ringing = await site.user("192.0.2.2")
        answering = await site.user("192.0.2.3")

        @ringing.on_invite
        async def ring(call: IncomingCall) -> None:
            await call.progress(180)
            try:
                await asyncio.sleep(60)
            finally:
                heard.append(f"cancelled={call.cancelled}")

        @answering.on_invite
        async def answer(call: IncomingCall) -> None:
            await asyncio.sleep(1)
            await call.answer(SDP)

        site.targets = [Target("sip:bob@192.0.2.2"), Target("sip:bob@192.0.2.3")]
        call = await caller.dial(f"sip:bob@{PROXY}", body=SDP)
        await asyncio.sleep(1)
        assert heard == ["cancelled=True"]
        await call.bye()

    play(story)


@pytest.mark.parametrize(
    ("codes", "kind", "status_code"),
    [
        ((486, 404), CallRejected, 404),
        ((486, 603), CallRejected, 603),
        ((503, 486), CallBusy, 486),
        ((503, 503), CallRejected, 500),
        ((404, 407), CallRejected, 407),
    ],
)
def test_refusals_are_answered_with_the_best_of_them(
    codes: tuple[int, int], kind: type[CallError], status_code: int
) -> None:
    """RFC 3261 section 16.7 item 6."""

    async def story(site: Site) -> None:
        caller = await site.user(CALLER)
        for host, code in zip(("192.0.2.2", "192.0.2.3"), codes, strict=True):
            callee = await site.user(host)
            callee.on("INVITE", lambda request, code=code: request.reply(code))
        site.targets = [Target("sip:bob@192.0.2.2"), Target("sip:bob@192.0.2.3")]
        with pytest.raises(kind) as refused:
            await caller.dial(f"sip:bob@{PROXY}", body=SDP)
        assert refused.value.response is not None
        assert refused.value.response.status_code == status_code

    play(story)


def test_a_better_answer_ranks_lower() -> None:
    ranked = sorted((503, 500, 486, 404, 401, 302, 603), key=_rank)
    assert ranked == [603, 302, 401, 404, 486, 500, 503]


def test_a_silent_target_of_an_invite_is_a_408() -> None:
    """RFC 3261 section 16.8."""

    async def story(site: Site) -> None:
        caller = await site.user(CALLER)
        site.peer("192.0.2.2")
        with pytest.raises(CallError) as failed:
            await caller.dial("sip:bob@192.0.2.2", body=SDP, routes=via_proxy())
        assert failed.value.response is not None
        assert failed.value.response.status_code == 408

    play(story)


def test_a_register_gets_a_path_that_leads_back_to_its_connection() -> None:
    """RFC 3327, RFC 5626 section 5: a request to the Path arrives on the very connection."""
    paths: list[str] = []

    async def story(site: Site) -> None:
        client = await site.user(CALLER, "tcp")
        home = await site.user("192.0.2.2")
        client.on("MESSAGE", lambda request: request.reply(200))

        @home.on("REGISTER")
        def register(request: Request) -> None:
            paths.extend(request.get_all("Path"))
            request.reply(200)

        response = await client.request("REGISTER", "sip:192.0.2.2", routes=via_proxy("tcp"))
        assert response.status_code == 200
        assert ";ob>" in paths[0]
        message = await home.request("MESSAGE", "sip:bob@unreachable.invalid", routes=paths)
        assert message.status_code == 200
        assert len(client.engine.connections()) == 1
        for connection in client.engine.connections():
            connection.end("gone")
        await asyncio.sleep(1)
        assert (await home.request("MESSAGE", "sip:bob@unreachable.invalid", routes=paths)).status_code == 430

    play(story)


def test_a_binding_without_its_connection_is_forgotten() -> None:
    """RFC 5626 section 6: a client that registered over TCP, without Path, and went away."""

    async def story(site: Site) -> None:
        registrar = Registrar(site.agent, domains=["example.com"])
        client = await site.user(CALLER, "tcp")
        caller = await site.user("192.0.2.3")
        site.proxy.targets = registrar.targets
        bob = "<sip:bob@example.com>"
        registered = await client.request(
            "REGISTER", f"sip:{PROXY};transport=tcp", from_=bob, to=bob, headers=[("Contact", f"<sip:bob@{CALLER}>")]
        )
        assert registered.status_code == 200
        client.on("MESSAGE", lambda request: request.reply(200))
        assert (await caller.request("MESSAGE", f"sip:bob@{PROXY}")).status_code == 200
        for connection in client.engine.connections():
            connection.end("gone")
        await asyncio.sleep(1)
        assert (await caller.request("MESSAGE", f"sip:bob@{PROXY}")).status_code == 480
        assert len(registrar.location) == 0

    play(story)


def test_a_forged_flow_token_is_no_token() -> None:
    """A flow that was not given out here is never used."""

    async def story(site: Site) -> None:
        peer = site.peer(CALLER)
        forged = f"Route: <sip:1-0000000000000000@{PROXY}:5060;lr>"
        bob = site.peer("192.0.2.2")
        peer.send(options(1, headers=["Max-Forwards: 70", forged]), (PROXY, 5060))
        assert (await asyncio.wait_for(bob.receive(), 5))[0].startswith(b"OPTIONS sip:bob@192.0.2.2 ")

    play(story)


def test_a_response_without_a_second_via_goes_nowhere() -> None:
    """It is for the proxy itself, which asked nothing."""

    async def story(site: Site) -> None:
        peer, bob = site.peer(CALLER), site.peer("192.0.2.2")
        peer.send(options(1, headers=["Max-Forwards: 70"]), (PROXY, 5060))
        request = sim_request((await asyncio.wait_for(bob.receive(), 5))[0])
        stripped = build_response(request, 200).edit()
        stripped.remove("Via").insert("Via", str(request.via[0]))
        bob.send(bytes(stripped.build()), (PROXY, 5060))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(final(peer), 20)

    play(story)


def sim_request(octets: bytes) -> Request:
    from sipcore import parse  # noqa: PLC0415

    message = parse(octets)
    assert isinstance(message, Request)
    return message
