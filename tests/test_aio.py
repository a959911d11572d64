"""The real world: sockets on loopback, on uvloop and on plain asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import itertools
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from kit import SDP, parsed_response, request_octets

from sipcore import Request
from sipcore.aio import AsyncioEnv, loop_factory
from sipcore.call import IncomingCall
from sipcore.env import StreamLimits
from sipcore.errors import TransportError
from sipcore.stack import Stack

Main = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    """Runs a coroutine function on each kind of loop, within 30 s."""
    factory = loop_factory() if request.param == "uvloop" else asyncio.new_event_loop

    def runs(main: Main) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(30):
                return await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(bounded())

    return runs


@contextlib.asynccontextmanager
async def listening(transport: str = "udp", **arguments: Any) -> AsyncIterator[tuple[Stack, int]]:
    stack = Stack()
    listener = await stack.listen(transport, "127.0.0.1:0", **arguments)
    try:
        yield stack, listener.port
    finally:
        await stack.close(timeout=2)


@pytest.mark.skipif(sys.platform != "linux", reason="IP_RECVERR is Linux's")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_closed_port_is_told_at_once_and_the_socket_goes_on(run: Callable[[Main], Any], host: str) -> None:
    """FAULTS 17 and 40, RFC 3261 section 18.4: and uvloop must not take the error for the end of the descriptor."""

    async def main() -> None:
        family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as closed:
            try:
                closed.bind((host.strip("[]"), 0))
            except OSError:
                pytest.skip(f"no address {host} here")
            port = closed.getsockname()[1]
        stack = Stack()
        listener = await stack.listen("udp", f"{host}:0")
        stack.on("OPTIONS", lambda request: request.reply(200))
        other = Stack()
        await other.listen("udp", f"{host}:0")
        for _ in range(3):
            for method in ("OPTIONS", "INVITE"):
                with pytest.raises(TransportError):
                    await asyncio.wait_for(stack.request(method, f"sip:x@{host}:{port}").final(), 10)
            response = await asyncio.wait_for(other.request("OPTIONS", f"sip:x@{host}:{listener.port}").final(), 10)
            assert response.status_code == 200
        assert stack.engine.stats()["unreachable"] == 6
        await asyncio.gather(stack.close(), other.close())

    run(main)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Client:
    """A blocking socket of the test's own, used from the loop."""

    def __init__(self, port: int, kind: int = socket.SOCK_DGRAM) -> None:
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.setblocking(False)
        self._address = "127.0.0.1", port

    async def __aenter__(self) -> Client:
        await asyncio.get_running_loop().sock_connect(self.socket, self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    async def send(self, octets: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, octets)

    async def receive(self, timeout: float = 5) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65_536), timeout)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_request_is_answered_on_real_sockets(run: Any, transport: str) -> None:
    async def main() -> tuple[int, str]:
        async with listening(transport) as (stack, port), listening() as (client, _):
            stack.on("MESSAGE", lambda request: request.reply(202))
            transaction = client.request("MESSAGE", f"sip:bob@127.0.0.1:{port};transport={transport}")
            response = await transaction
            return response.status_code, str(transaction.decision)

    status_code, decision = run(main)
    assert status_code == 202
    assert decision.endswith("(SPEC D1)")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_goes_through_on_real_sockets(run: Any, transport: str) -> None:
    async def main() -> str:
        async with listening(transport) as (stack, port), listening(transport) as (client, _):

            @stack.on_invite
            async def inbound(call: IncomingCall) -> None:
                await call.progress(180)
                await call.answer(SDP)
                await call.confirmed()
                await call.bye()

            async with client.dial(f"sip:bob@127.0.0.1:{port};transport={transport}", body=SDP) as call:
                await call.answered()
                return await call.ended()

    assert run(main) == "the far side hung up"


def test_a_port_in_use_is_a_transport_error_that_says_so(run: Any) -> None:
    async def main() -> None:
        for transport in ("udp", "tcp"):
            async with listening(transport) as (stack, port):
                with pytest.raises(TransportError, match="in use"):
                    await stack.listen(transport, f"127.0.0.1:{port}")
                assert len(stack.ua.listeners) == 1

    run(main)


def test_a_foreign_address_is_a_transport_error(run: Any) -> None:
    async def main() -> None:
        stack = Stack()
        with pytest.raises(TransportError, match="assign"):
            await stack.listen("udp", "192.0.2.1:0")
        await stack.close()

    run(main)


def test_a_refused_connection_is_a_transport_error(run: Any) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            async with listening() as (client, _):
                with pytest.raises(TransportError, match="refused"):
                    await client.request("OPTIONS", f"sip:127.0.0.1:{port};transport=tcp")

    run(main)


def test_malformed_datagrams_are_dropped_or_answered_400_and_the_next_is_served(run: Any) -> None:
    """FAULTS 17."""

    async def main() -> list[int]:
        async with listening() as (_, port), Client(port) as client:
            good = request_octets(host="127.0.0.1", port=client.port)
            for octets in (
                b"",
                b"\0",
                b"\r\n\r\n" * 100,
                b"x" * 60_000,
                good.replace(b"Content-Length: 0", b"l: five"),
            ):
                await client.send(octets)
            await client.send(good)
            codes = []
            while not codes or codes[-1] != 200:
                octets = await client.receive()
                if octets.strip():
                    codes.append(parsed_response(octets).status_code)
            return codes

    assert run(main) in ([400, 200], [200])


def test_what_is_not_accepted_is_closed_at_once(run: Any) -> None:
    """SPEC A2."""

    async def main() -> bytes:
        async with listening("tcp") as (stack, port):
            stack.ua.accepts = lambda host: False
            async with Client(port, socket.SOCK_STREAM) as client:
                with contextlib.suppress(ConnectionError):
                    return await client.receive()
                return b""

    assert run(main) == b""


def test_more_connections_than_the_limit_are_closed_and_room_is_made_again(run: Any) -> None:
    """FAULTS 12."""

    async def main() -> tuple[int, bytes]:
        limits = StreamLimits(connections_per_address=3)
        async with listening("tcp", limits=limits) as (stack, port):
            clients = [await Client(port, socket.SOCK_STREAM).__aenter__() for _ in range(5)]
            await asyncio.sleep(0.1)
            kept = len(stack.engine.connections())
            for client in clients:
                client.socket.close()
            await asyncio.sleep(0.1)
            async with Client(port, socket.SOCK_STREAM) as client:
                await client.send(request_octets(host="127.0.0.1", transport="TCP"))
                return kept, await client.receive()

    kept, got = run(main)
    assert kept == 3
    assert got.startswith(b"SIP/2.0 200 ")


def test_a_stream_in_single_octets_is_one_message(run: Any) -> None:
    async def main() -> bytes:
        async with listening("tcp") as (_, port), Client(port, socket.SOCK_STREAM) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in request_octets(host="127.0.0.1", transport="TCP"):
                await client.send(bytes([octet]))
            return await client.receive()

    assert run(main).startswith(b"SIP/2.0 200 ")


@pytest.mark.parametrize(("connections", "each"), [(10, 100), pytest.param(100, 100, marks=pytest.mark.slow)])
def test_pipelined_messages_in_random_splits_arrive_once_and_in_order(run: Any, connections: int, each: int) -> None:
    """FAULTS 13; keep-alives stand between them (RFC 5626 section 3.5.1)."""

    async def main() -> dict[str, list[int]]:
        seen: dict[str, list[int]] = {}
        async with listening("tcp") as (stack, port):

            @stack.on("MESSAGE")
            def message(request: Request) -> None:
                assert request.call_id is not None
                connection, number = request.call_id.split("-")
                seen.setdefault(connection, []).append(int(number))
                request.reply(200)

            await asyncio.gather(*(pipeline(port, connection) for connection in range(connections)))
        return seen

    async def pipeline(port: int, connection: int) -> None:
        draw = random.Random(connection)
        octets = b"".join(
            request_octets(
                "MESSAGE",
                transport="TCP",
                branch=f"z9hG4bK{connection}-{number}",
                call_id=f"{connection}-{number}",
                body=b"\r\n" * draw.randrange(40),
            )
            + draw.choice((b"", b"\r\n\r\n"))
            for number in range(each)
        )
        async with Client(port, socket.SOCK_STREAM) as client:
            at = 0
            while at < len(octets):
                size = draw.choice((1, 7, 100, 1_460, 9_000))
                await client.send(octets[at : at + size])
                at += size
                await asyncio.sleep(0)
            answers = b""
            while answers.count(b"SIP/2.0 200 ") < each:
                answers += await client.receive()

    seen = run(main)
    assert seen == {str(connection): list(range(each)) for connection in range(connections)}


def test_half_a_message_is_closed_after_its_deadline(run: Any) -> None:
    """FAULTS 11."""

    async def main() -> float:
        limits = StreamLimits(message_timeout=0.3)
        async with listening("tcp", limits=limits) as (_, port), Client(port, socket.SOCK_STREAM) as client:
            await client.send(b"OPTIONS sip:a")
            start = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while await client.receive():
                    pass
            return time.monotonic() - start

    assert 0.2 < run(main) < 5


def test_a_sender_whose_every_read_ends_inside_a_message_is_not_closed_for_that(run: Any) -> None:
    """The deadline is each message's own: what goes on for longer has ended many of them meanwhile."""

    async def main() -> tuple[int, int]:
        octets = [request_octets(transport="TCP", branch=f"z9hG4bKp{n}", call_id=f"p{n}") for n in range(31)]
        limits = StreamLimits(message_timeout=0.5)
        async with listening("tcp", limits=limits) as (stack, port), Client(port, socket.SOCK_STREAM) as client:
            await client.send(octets[0][:100])
            for one, following in itertools.pairwise(octets):
                await asyncio.sleep(0.04)
                await client.send(one[100:] + following[:100])
            await asyncio.sleep(0.05)
            return len(stack.engine.connections()), stack.engine.stats()["requests"]

    assert run(main) == (1, 30)


def test_a_reader_that_never_reads_is_closed(run: Any) -> None:
    """FAULTS 14."""

    async def main() -> int:
        limits = StreamLimits(stall_timeout=0.3)
        async with listening("tcp", limits=limits) as (stack, port):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))

            async def flood() -> None:
                for number in range(50_000):
                    octets = request_octets(transport="TCP", branch=f"z9hG4bK{number}", call_id=f"{number}")
                    await asyncio.get_running_loop().sock_sendall(client, octets)

            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(flood(), 20)
            client.close()
            return len(stack.engine.connections())

    assert run(main) == 0


def test_a_burst_of_resets_leaves_nothing_behind(run: Any) -> None:
    """FAULTS 15."""

    async def main() -> tuple[int, int]:
        async with listening("tcp") as (stack, port):
            stack.on_invite(_rings)
            for number in range(100):
                async with Client(port, socket.SOCK_STREAM) as client:
                    linger = b"\1\0\0\0\0\0\0\0"
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    invites = [
                        request_octets(
                            "INVITE", transport="TCP", branch=f"z9hG4bK{number}-{i}", call_id=f"{number}-{i}"
                        )
                        for i in range(10)
                    ]
                    await client.send(b"".join(invites))
            await asyncio.sleep(0.5)
            connections = len(stack.engine.connections())
            return connections, len(stack.ua.calls)

    connections, _ = run(main)
    assert connections == 0


async def _rings(call: IncomingCall) -> None:
    await call.progress(180)
    await call.reject(486)


def test_work_posted_from_a_thread_is_sent_at_once(run: Any) -> None:
    async def main() -> int:
        async with listening() as (_, port), listening() as (client, _):
            answers: list[Any] = []
            done = asyncio.Event()

            def ask() -> None:
                transaction = client.request("OPTIONS", f"sip:127.0.0.1:{port}")
                asyncio.ensure_future(transaction.final()).add_done_callback(
                    lambda future: (answers.append(future.result()), done.set())
                )

            thread = threading.Thread(target=client.post_threadsafe, args=(ask,))
            thread.start()
            await done.wait()
            thread.join()
            return int(answers[0].status_code)

    assert run(main) == 200


def test_timers_need_no_traffic_to_fire(run: Any) -> None:
    async def main() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            async with listening() as (client, _):
                transaction = client.request("OPTIONS", f"sip:127.0.0.1:{silent.getsockname()[1]}")
                await asyncio.sleep(1.8)
                transaction.abandon(TransportError("enough"))
            count = 0
            with contextlib.suppress(BlockingIOError):
                while silent.recv(65_536):
                    count += 1
            return count

    assert run(main) == 3


def test_ipv6_is_served_where_there_is_ipv6(run: Any) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback address")

    async def main() -> list[int]:
        stack, client = Stack(), Stack()
        codes = []
        for transport in ("udp", "tcp"):
            listener = await stack.listen(transport, "[::1]:0")
            await client.listen(transport, "[::1]:0")
            uri = f"sip:[::1]:{listener.port};transport={transport}"
            codes.append((await client.request("OPTIONS", uri)).status_code)
        await asyncio.gather(stack.close(timeout=2), client.close(timeout=2))
        return codes

    assert run(main) == [200, 200]


def test_a_wildcard_listener_says_a_real_address(run: Any) -> None:
    async def main() -> str:
        stack = Stack()
        listener = await stack.listen("udp", "0.0.0.0:0")
        sent_by = stack.engine.local_sent_by(listener.local)
        await stack.close()
        return sent_by

    assert not run(main).startswith("0.0.0.0")


def test_an_advertised_address_stands_in_via_and_contact(run: Any) -> None:
    async def main() -> Request:
        async with listening() as (server, port):
            seen: asyncio.Queue[Request] = asyncio.Queue()

            @server.on("MESSAGE")
            def message(request: Request) -> None:
                seen.put_nowait(request)
                request.reply(200)

            client = Stack()
            await client.listen("udp", "127.0.0.1:0", advertise="203.0.113.5:5099")
            await client.request(
                "MESSAGE", f"sip:127.0.0.1:{port}", headers=[("Contact", f"<{client.ua.local_contact('udp')}>")]
            )
            await client.close(timeout=2)
            return await seen.get()

    request = run(main)
    assert request["Via"].startswith("SIP/2.0/UDP 203.0.113.5:5099;")
    assert request["Contact"] == "<sip:203.0.113.5:5099>"


def test_too_many_open_files_refuse_and_recover(run: Any) -> None:
    """FAULTS 53: connecting fails as an error, calls that stand go on, and all is well when descriptors return."""

    async def main() -> tuple[int, int]:
        async with listening("tcp") as (_, port), listening() as (client, udp_port):
            uri = f"sip:127.0.0.1:{port};transport=tcp"
            hoard = []
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 8, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        hoard.append(socket.socket())
                with pytest.raises(TransportError, match=os.strerror(errno.EMFILE)):
                    await client.request("OPTIONS", uri)
                async with listening_again(hoard) as during:
                    served = (await during.request("OPTIONS", f"sip:127.0.0.1:{udp_port}")).status_code
            finally:
                for sock in hoard:
                    sock.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return served, (await client.request("OPTIONS", uri)).status_code

    assert run(main) == (200, 200)


@contextlib.asynccontextmanager
async def listening_again(hoard: list[socket.socket]) -> AsyncIterator[Stack]:
    """A stack with one datagram socket, made from a descriptor that is given back."""
    hoard.pop().close()
    async with listening() as (stack, _):
        yield stack


def test_addresses_of_the_host_can_be_watched(run: Any) -> None:
    async def main() -> None:
        watch = AsyncioEnv().watch_addresses(lambda: None)
        await asyncio.sleep(0)
        watch.close()
        watch.close()

    run(main)


def test_a_stack_that_closed_holds_no_descriptor_and_no_task(run: Any) -> None:
    """FAULTS 57."""

    async def use(transport: str) -> None:
        async with listening(transport) as (_, port), listening() as (client, _):
            await client.request("OPTIONS", f"sip:127.0.0.1:{port};transport={transport}")
        await asyncio.sleep(0.1)

    async def main() -> tuple[int, int, int]:
        await use("tcp")  # the loop opens its own spare descriptors once
        before = open_descriptors()
        for transport in ("udp", "tcp", "udp", "tcp"):
            await use(transport)
        gc.collect()
        return before, open_descriptors(), len(asyncio.all_tasks())

    before, after, tasks = run(main)
    assert after == before
    assert tasks == 1


@pytest.mark.native
def test_importing_the_package_is_quick() -> None:
    script = "import time; t = time.perf_counter(); import sipcore; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(3)]
    assert min(times) < 0.15
