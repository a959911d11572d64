"""One worker's place among the others: who owns what, questions between workers, and what a program may ask for."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_kit import answer_request

import sipcore
from sipcore import sim
from sipcore.handover import open_socket, receive_message, send_message
from sipcore.policy.workers import GOOD_RUN, Restarts, free_numbers, merge_reports, worker_for
from sipcore.serving import worker_count
from sipcore.stack import Stack
from sipcore.workers import Place, Workers

# pure decisions


def test_a_key_has_one_owner_in_every_process() -> None:
    owners = {key: worker_for(key, (0, 1, 2), b"secret") for key in map(str, range(300))}
    assert owners == {key: worker_for(key, (0, 1, 2), b"secret") for key in owners}
    assert min(Counter(owners.values()).values()) > 70, "each gets its share"
    assert owners != {key: worker_for(key, (0, 1, 2), b"other") for key in owners}, "strangers cannot aim"


@given(st.text(), st.lists(st.integers(0, 255), min_size=1, max_size=24, unique=True))
def test_the_owner_is_one_of_the_workers(key: str, workers: list[int]) -> None:
    assert worker_for(key, workers) in workers


def test_a_successor_takes_numbers_that_its_predecessor_has_not() -> None:
    assert free_numbers(3, ()) == (0, 1, 2)
    assert free_numbers(3, (0, 1)) == (2, 3, 4)
    assert free_numbers(2, (1, 2)) == (0, 3)
    with pytest.raises(ValueError, match="only 1"):
        free_numbers(2, range(255))


def test_who_ran_well_is_started_again_at_once_and_who_keeps_dying_waits_longer() -> None:
    restarts = Restarts(random.Random(1))
    assert restarts.wait_after(GOOD_RUN) == 0.0
    waits = [restarts.wait_after(0.1) for _ in range(10)]
    assert all(step / 2 <= wait <= step for wait, step in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60, 60), strict=True))
    assert restarts.wait_after(GOOD_RUN + 1) == 0.0
    assert restarts.wait_after(0.1) <= 1.0
    assert restarts.deaths == 13


def test_reports_add_up() -> None:
    one = {"counters": {"requests": 1}, "bindings": {"a": ["x"]}, "up": True, "list": [1]}
    other = {"counters": {"requests": 2, "more": 3}, "bindings": {"b": ["y"]}, "up": False, "list": [2], "new": "z"}
    assert merge_reports((one, other)) == {
        "counters": {"requests": 3, "more": 3},
        "bindings": {"a": ["x"], "b": ["y"]},
        "up": False,
        "list": [1, 2],
        "new": "z",
    }
    assert merge_reports(()) == {}


# workers of one loop


class Group:
    """Some workers in this process, each with a stack on an address of its own."""

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        controls = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
        self.supervisor = [theirs for theirs, _ in controls]
        self.sockets = [one for pair in (*pairs, *controls) for one in pair]
        loop = asyncio.get_running_loop()
        self.workers = [
            Workers(
                Place(
                    number=number,
                    workers=tuple(range(count)),
                    secret=b"sixteen octets!!",
                    control=controls[number][1],
                    mailbox=pairs[number][0],
                    boxes={other: pairs[other][1] for other in range(count)},
                ),
                loop,
            )
            for number in range(count)
        ]
        self.stacks = [Stack(workers=workers) for workers in self.workers]

    async def __aenter__(self) -> Group:
        return self

    async def __aexit__(self, *_: object) -> None:
        for workers, stack in zip(self.workers, self.stacks, strict=True):
            workers.detach()
            await stack.close(timeout=0.0)
        for one in self.sockets:
            one.close()


def with_group(main: Callable[[Group], Coroutine[Any, Any, None]], count: int = 3) -> None:
    async def whole() -> None:
        async with Group(count) as group:
            await main(group)

    sipcore.run(whole())


def test_workers_answer_one_another() -> None:
    async def main(group: Group) -> None:
        for one in group.workers:
            one.answer("greeting", lambda text, asker, one=one: b"%s from %d to %d" % (text, one.number, asker))
        assert await group.workers[0].ask(1, "greeting", b"hello") == b"hello from 1 to 0"
        assert await group.workers[2].ask(2, "greeting", b"hello") == b"hello from 2 to 2"
        everybody = await group.workers[1].ask_all("greeting", b"hi")
        assert everybody == {number: b"hi from %d to 1" % number for number in range(3)}

    with_group(main)


def test_a_question_that_has_no_answer_fails_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipcore.workers.ANSWER_TIMEOUT", 0.05)

    def broken(question: bytes, worker: int) -> bytes:
        raise ValueError("broken")

    async def main(group: Group) -> None:
        one, other, silent = group.workers
        other.answer("broken", broken)
        silent.detach()
        for worker, topic, why in (
            (1, "nothing", "nobody answers"),
            (1, "broken", "broken"),
            (2, "x", "not answer"),
            (9, "x", "no question"),
        ):
            with pytest.raises(sipcore.TransportError, match=why):
                await one.ask(worker, topic)
        assert not one._asked

    with_group(main)


def test_workers_share_keys_for_each_purpose() -> None:
    async def main(group: Group) -> None:
        keys = {workers.key("proxy") for workers in group.workers}
        assert len(keys) == 1
        assert group.workers[0].key("other") not in keys
        assert {stack.key("proxy") for stack in group.stacks} == keys
        alone = Stack()
        assert alone.key("proxy") != alone.key("proxy")
        await alone.close(timeout=0)

    with_group(main)


def test_what_a_supervisor_says_is_done() -> None:
    async def main(group: Group) -> None:
        one = group.workers[0]
        told: list[str] = []

        @one.on_reload
        def broken() -> None:
            raise ValueError("unreadable")

        @one.on_reload
        async def reload() -> None:
            told.append("reloaded")

        one.on_begin = lambda: told.append("begun")
        one.report = lambda: {"calls": 3}
        for what in ("reload", "begin", "report", "retire"):
            send_message(group.supervisor[0], {"do": what})
        send_message(group.supervisor[0], {"do": "stop", "grace": 2.5})
        assert await one.stopping == 2.5
        assert one.retiring.done()
        await asyncio.sleep(0)
        assert one.begun.is_set()
        assert sorted(told) == ["begun", "reloaded"]
        assert receive_message(group.supervisor[0]) == ({"say": "begun"}, [])
        received = receive_message(group.supervisor[0])
        assert received is not None
        assert received[0]["report"]["calls"] == 3
        assert received[0]["report"]["counters"]["requests"] == 0

    with_group(main)


def test_a_worker_without_supervisor_ends_soon() -> None:
    async def main(group: Group) -> None:
        group.supervisor[1].close()
        async with asyncio.timeout(2):
            assert await group.workers[1].stopping == 1.0

    with_group(main)


def test_a_full_mailbox_takes_no_letter_and_blocks_nobody() -> None:
    async def main(group: Group) -> None:
        one = group.workers[0]
        group.workers[1].detach()
        taken = 0
        while one._post(1, b"M" * 60_000):
            taken += 1
            assert taken < 10_000
        assert one.lost_letters == 1
        assert not one._post(7, b"M"), "there is no such worker"

    with_group(main)


def test_a_worker_has_one_stack() -> None:
    async def main(group: Group) -> None:
        with pytest.raises(sipcore.UsageError, match="one stack"):
            Stack(workers=group.workers[0])

    with_group(main)


def test_answers_find_their_worker_wherever_the_kernel_puts_them() -> None:
    async def main(group: Group) -> None:
        port = 0
        for stack in group.stacks:
            shared = open_socket(socket.SOCK_DGRAM, "127.0.0.1", port, shared=True)
            port = (await stack.listen("udp", "", sock=shared)).port
        for _ in range(20):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind(("127.0.0.1", 0))
                peer.settimeout(5)
                sent = group.stacks[1].request("OPTIONS", f"sip:peer@127.0.0.1:{peer.getsockname()[1]}")
                octets, source = await asyncio.to_thread(peer.recvfrom, 65_536)
                answer_request(peer, octets, source)
                async with asyncio.timeout(5):
                    assert (await sent).status_code == 200
        first, second = (stack.engine.stats() for stack in group.stacks)
        assert first["handed_over"] == second["taken_over"]
        assert 0 < first["handed_over"] < 20, "some came to the right one"

    with_group(main, 2)


# listeners that wait


def test_a_paused_listener_takes_in_later_what_came_meanwhile() -> None:
    async def main(network: sim.SimNetwork) -> None:
        server, client = Stack(env=network.env("192.0.2.1")), Stack(env=network.env("192.0.2.2"))
        await server.listen("udp", "192.0.2.1:5060")
        await client.listen("udp", "192.0.2.2:5060")
        server.pause()
        sent = client.request("OPTIONS", "sip:192.0.2.1")
        await asyncio.sleep(0.2)
        assert server.engine.stats()["requests"] == 0
        server.resume()
        assert (await sent).status_code == 200
        assert server.engine.stats()["requests"] == 1

    sim.run(main)


def test_a_real_listener_can_be_paused_too() -> None:
    async def main() -> None:
        stack = Stack()
        for transport in ("udp", "tcp"):
            listener = await stack.listen(transport, "127.0.0.1:0")
            kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
            stack.pause()
            with socket.socket(socket.AF_INET, kind) as peer:
                peer.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(peer, (listener.host, listener.port))
                await loop.sock_sendall(peer, octets_of(transport, peer))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await loop.sock_recv(peer, 65_536)
                stack.resume()
                async with asyncio.timeout(5):
                    assert (await loop.sock_recv(peer, 65_536)).startswith(b"SIP/2.0 200")
        await stack.close(timeout=0)

    sipcore.run(main())


def octets_of(transport: str, peer: socket.socket) -> bytes:
    host, port = peer.getsockname()
    return (
        f"OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/{transport.upper()} {host}:{port};branch=z9hG4bK{transport}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:a@{host}>;tag=1\r\nTo: <sip:b@{host}>\r\nCall-ID: {transport}\r\n"
        "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def test_a_socket_that_was_bound_elsewhere_is_listened_on() -> None:
    async def main() -> None:
        stack = Stack()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        listener = await stack.listen("udp", "", sock=sock)
        assert listener.port == port
        with pytest.raises(sipcore.TransportError, match="kind"):
            await stack.listen("tcp", "", sock=sock)
        await stack.close(timeout=0)

    sipcore.run(main())


def test_a_simulated_host_reads_no_real_socket() -> None:
    async def main(network: sim.SimNetwork) -> None:
        stack = Stack(env=network.env("192.0.2.1"))
        with socket.socket() as sock:
            for transport in ("udp", "tcp"):
                with pytest.raises(sipcore.TransportError, match="simulated"):
                    await stack.listen(transport, "192.0.2.1:5060", sock=sock)

    sim.run(main)


# how it is asked for


@pytest.mark.parametrize("workers", [0, -1, 25, "many", 1.5, None])
def test_a_wrong_number_of_workers_is_refused(workers: object) -> None:
    with pytest.raises(sipcore.UsageError):
        worker_count(workers)  # type: ignore[arg-type]


def test_auto_is_one_worker_for_each_processor_of_this_process() -> None:
    assert worker_count("auto") == min(24, len(os.sched_getaffinity(0)))


def test_serving_inside_a_loop_is_refused() -> None:
    async def inside() -> None:
        with pytest.raises(sipcore.UsageError, match="outside of a running loop"):
            sipcore.serve(lambda stack: None)

    asyncio.run(inside())


def test_an_unknown_spread_is_refused() -> None:
    with pytest.raises(sipcore.UsageError, match="address"):
        sipcore.serve(lambda stack: None, spread="chance")


def test_a_stack_of_workers_outside_of_a_worker_says_what_to_do() -> None:
    async def outside() -> None:
        with pytest.raises(sipcore.UsageError, match=r"sipcore\.serve"):
            sipcore.Stack(workers=2)

    asyncio.run(outside())
