"""Datagrams on real loopback sockets: batches, both address families, errors, and a kernel that takes no more."""

import os
import select
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from failing_memory import run_with_failing_memory

from sipcore._batch import DatagramSocket, ReceiveArena
from sipcore.errors import TransportError, UsageError

V4, V6 = socket.AF_INET, socket.AF_INET6

CALLS = pytest.mark.parametrize("one_at_a_time", [False, True], ids=["batched", "one at a time"])


@contextmanager
def bound(family: int = V4, host: str = "127.0.0.1", *, buffer: int = 1 << 20) -> Iterator[socket.socket]:
    """A non-blocking UDP socket on a port of the kernel's choice; IPv6 ones take IPv4 too."""
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if family == V6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            opened.bind((host, 0))
        except OSError:
            pytest.skip(f"no address {host} here")
        yield opened


def port_of(opened: socket.socket) -> int:
    port: int = opened.getsockname()[1]
    return port


def receive_all(datagrams: DatagramSocket, count: int) -> list[tuple[bytes, str, int]]:
    """Receive until `count` have come or nothing comes for a second."""
    received: list[tuple[bytes, str, int]] = []
    while len(received) < count and select.select([datagrams.fileno()], [], [], 1)[0]:
        received += datagrams.receive()
    return received


# ---- receive and send


@CALLS
@pytest.mark.parametrize("segment", [False, True], ids=["plain", "UDP_SEGMENT"])
@pytest.mark.parametrize("coalesce", [False, True], ids=["plain", "UDP_GRO"])
def test_datagrams_arrive_once_in_order_and_whole(one_at_a_time: bool, segment: bool, coalesce: bool) -> None:
    sizes = [400] * 150 + [0, 1, 400, 399, 400, 400, 1472, 9000, 65507, 3] + [200] * 70
    octets = [os.urandom(size) for size in sizes]
    with bound() as here, bound(buffer=4 << 20) as there:
        sender = DatagramSocket(here.fileno(), one_at_a_time=one_at_a_time, segment=segment)
        receiver = DatagramSocket(there.fileno(), one_at_a_time=one_at_a_time, coalesce=coalesce)
        received = []
        for at in range(0, len(octets), 40):
            sender.send_batch([(each, "127.0.0.1", port_of(there)) for each in octets[at : at + 40]])
            received += receive_all(receiver, len(octets[at : at + 40]))
        assert [each for each, _, _ in received] == octets
        assert {(host, port) for _, host, port in received} == {("127.0.0.1", port_of(here))}
        assert sender.stats()["sent"] == receiver.stats()["received"] == len(sizes)
        assert sender.stats()["sent_octets"] == receiver.stats()["received_octets"] == sum(sizes)
        assert receiver.stats()["truncated"] == 0
        assert (sender.stats()["segmented"] > 0) == sender.segments


def test_a_batch_is_one_system_call() -> None:
    with bound() as here, bound() as there:
        sender, receiver = DatagramSocket(here.fileno()), DatagramSocket(there.fileno())
        sender.send_batch([(b"OPTIONS", "127.0.0.1", port_of(there))] * 64)
        assert sender.stats()["send_calls"] == 1
        assert len(receive_all(receiver, 64)) == 64
        assert receiver.stats()["receive_calls"] == 1


@CALLS
def test_a_receive_takes_no_more_than_a_batch(one_at_a_time: bool) -> None:
    with bound() as here, bound() as there:
        sender = DatagramSocket(here.fileno())
        receiver = DatagramSocket(there.fileno(), one_at_a_time=one_at_a_time)
        sender.send_batch([(b"%d" % n, "127.0.0.1", port_of(there)) for n in range(100)])
        assert [len(receiver.receive()) for _ in range(3)] == [64, 36, 0]


def test_nothing_waiting_is_no_datagram() -> None:
    with bound() as here:
        datagrams = DatagramSocket(here.fileno())
        assert datagrams.receive() == []
        assert datagrams.flush() == 0
        datagrams.send_batch([])


def test_runs_of_one_size_to_one_peer_leave_as_one_segmented_send() -> None:
    with bound() as here, bound() as there, bound() as elsewhere:
        sender = DatagramSocket(here.fileno(), segment=True)
        if not sender.segments:
            pytest.skip("this kernel has no UDP_SEGMENT")
        first, second = port_of(there), port_of(elsewhere)
        run = [(b"a" * 300, "127.0.0.1", first)] * 20
        sender.send_batch([*run, (b"b" * 300, "127.0.0.1", second), *run, (b"c" * 299, "127.0.0.1", first)])
        assert sender.stats()["segmented"] == 41
        receiver = DatagramSocket(there.fileno())
        assert [each[0] for each in receive_all(receiver, 41)] == [b"a" * 300] * 40 + [b"c" * 299]
        assert receive_all(DatagramSocket(elsewhere.fileno()), 1)[0][0] == b"b" * 300


def test_sockets_that_share_an_arena_do_not_mix_datagrams() -> None:
    arena = ReceiveArena()
    with bound() as here, bound(host="0.0.0.0") as there:
        one, other = DatagramSocket(here.fileno(), arena=arena), DatagramSocket(there.fileno(), arena=arena)
        for n in range(50):
            one.send_batch([(b"to other %d" % n, "127.0.0.1", port_of(there))])
            other.send_batch([(b"to one %d" % n, "127.0.0.1", port_of(here))])
            assert receive_all(other, 1)[0][0] == b"to other %d" % n
            assert other.arrivals(1) == ["127.0.0.1"]
            assert receive_all(one, 1)[0][0] == b"to one %d" % n
            assert one.arrivals(1) == [""]


# ---- addresses


@CALLS
def test_a_wildcard_socket_knows_where_a_datagram_was_sent_to_and_answers_from_there(one_at_a_time: bool) -> None:
    with bound(host="0.0.0.0") as server, bound() as client:
        datagrams = DatagramSocket(server.fileno(), one_at_a_time=one_at_a_time)
        for host in ("127.0.0.5", "127.0.0.1", "127.1.2.3"):
            client.sendto(b"OPTIONS", (host, port_of(server)))
            [(_, source, port)] = receive_all(datagrams, 1)
            assert datagrams.arrivals(1) == [host]
            datagrams.send_batch([(b"200", source, port)], source=host)
            select.select([client], [], [], 1)
            assert client.recvfrom(100) == (b"200", (host, port_of(server)))


def test_ipv6_works_alike() -> None:
    with bound(V6, "::1") as here, bound(V6, "::") as there:
        sender, receiver = DatagramSocket(here.fileno()), DatagramSocket(there.fileno())
        sender.send_batch([(b"6", "::1", port_of(there))])
        assert receive_all(receiver, 1) == [(b"6", "::1", port_of(here))]
        assert receiver.arrivals(1) == ["::1"]
        receiver.send_batch([(b"66", "::1", port_of(here))], source="::1")
        assert receive_all(sender, 1) == [(b"66", "::1", port_of(there))]


def test_a_dual_stack_socket_speaks_ipv4_with_ipv4_peers() -> None:
    with bound(V6, "::") as server, bound() as client:
        datagrams = DatagramSocket(server.fileno())
        client.sendto(b"4", ("127.0.0.9", port_of(server)))
        assert receive_all(datagrams, 1) == [(b"4", "127.0.0.1", port_of(client))]
        assert datagrams.arrivals(1) == ["127.0.0.9"]
        datagrams.send_batch([(b"44", "127.0.0.1", port_of(client))], source="127.0.0.9")
        select.select([client], [], [], 1)
        assert client.recvfrom(100) == (b"44", ("127.0.0.9", port_of(server)))


def test_what_is_no_address_is_refused_by_the_caller() -> None:
    with bound() as here:
        datagrams = DatagramSocket(here.fileno())
        for host, port in (("example.com", 5060), ("127.0.0.1", 65536), ("127.0.0.1", -1), ("", 5060)):
            with pytest.raises(UsageError):
                datagrams.send_batch([(b"x", host, port)])
        with pytest.raises(UsageError):
            datagrams.send_batch([(b"x", "127.0.0.1", 5060)], source="lo")


def test_what_is_no_bound_ip_socket_is_refused() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local, pytest.raises(TransportError):
        DatagramSocket(local.fileno())
    with pytest.raises(TransportError):
        DatagramSocket(-1)


# ---- faults of the network (FAULTS 17, 51, 53)


def test_an_unreachable_port_is_counted_and_never_raises() -> None:
    with bound() as here, bound() as there:
        gone = port_of(there)
        there.close()
        here.connect(("127.0.0.1", gone))
        datagrams = DatagramSocket(here.fileno())
        for _ in range(20):
            datagrams.send_batch([(b"x", "127.0.0.1", gone)] * 3)
            assert datagrams.receive() == []
        assert datagrams.stats()["icmp_errors"] > 0
        assert not datagrams.blocked


@CALLS
def test_one_bad_destination_does_not_keep_the_others_from_leaving(one_at_a_time: bool) -> None:
    with bound() as here, bound() as there:
        sender = DatagramSocket(here.fileno(), one_at_a_time=one_at_a_time)
        good = (b"good", "127.0.0.1", port_of(there))
        bad = [(b"bad", "255.255.255.255", 5060), (b"bad", "2001:db8::1", 5060), (b"bad", "127.0.0.1", 0)]
        sender.send_batch([bad[0], good, bad[1], bad[2], good, good, bad[0]])
        assert len(receive_all(DatagramSocket(there.fileno()), 3)) == 3
        assert sender.stats()["sent"] == 3
        assert sender.stats()["send_errors"] == 4
        assert sender.stats()["queued"] == 0


def test_a_datagram_that_is_too_large_is_counted() -> None:
    with bound() as here, bound() as there:
        sender = DatagramSocket(here.fileno(), segment=True)
        sizes = (65_508, 65_535, 65_536, 1 << 20)
        sender.send_batch([*((bytes(size), "127.0.0.1", port_of(there)) for size in sizes)])
        assert sender.stats()["send_errors"] == len(sizes)
        assert sender.stats()["sent"] == 0


def test_a_detached_socket_drops_and_counts() -> None:
    with bound() as here, bound() as there:
        sender = DatagramSocket(here.fileno())
        sender.detach()
        assert sender.fileno() == -1
        sender.send_batch([(b"x", "127.0.0.1", port_of(there))])
        assert sender.receive() == []
        assert sender.stats()["send_errors"] == 1
        assert receive_all(DatagramSocket(there.fileno()), 0) == []


# Loopback never makes a UDP sender wait, so the system calls are replaced: the first `refusals` sends fail with
# `refusal`, and no call sends more than `at_most` datagrams.
KERNEL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int refusals, refusal, at_most = 1024;

int sendmmsg(int fd, struct mmsghdr *headers, unsigned int count, int flags)
{
    int (*next)(int, struct mmsghdr *, unsigned int, int) = dlsym(RTLD_NEXT, "sendmmsg");
    if (refusals > 0) return refusals--, errno = refusal, -1;
    return next(fd, headers, count < (unsigned int)at_most ? count : (unsigned int)at_most, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    if (refusals > 0) return refusals--, errno = refusal, -1;
    return next(fd, message, flags);
}
"""

SCRIPT = """
import ctypes, errno, socket, sys
from sipcore._batch import DatagramSocket

kernel = ctypes.CDLL(None)

def refuse(count, error=errno.EAGAIN):
    ctypes.c_int.in_dll(kernel, "refusal").value = error
    ctypes.c_int.in_dll(kernel, "refusals").value = count

def limit(count):
    ctypes.c_int.in_dll(kernel, "at_most").value = count

def bound():
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.setblocking(False)
    opened.bind(("127.0.0.1", 0))
    return opened

def sent_now():
    octets = []
    while batch := receiver.receive():
        octets += [each[0] for each in batch]
    return octets

def numbered(first, count, size=0):
    return [(b"%06d" % n + bytes(size), "127.0.0.1", port) for n in range(first, first + count)]

here, there = bound(), bound()
port = there.getsockname()[1]
one_at_a_time, segment = sys.argv[1] == "single", sys.argv[1] == "segment"
sender = DatagramSocket(here.fileno(), one_at_a_time=one_at_a_time, segment=segment)
receiver = DatagramSocket(there.fileno())
"""


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared object to preload that refuses to send when told."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler to make a kernel that refuses")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "kernel.c").write_text(KERNEL)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "kernel.so", "kernel.c", "-ldl"], cwd=folder, check=True)
    return folder / "kernel.so"


def under_that_kernel(kernel: Path, how: str, script: str) -> None:
    """Run SCRIPT and `script` in an interpreter of its own; their asserts count."""
    preload = f"{os.environ.get('LD_PRELOAD', '')} {kernel}".strip()
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT + textwrap.dedent(script), how],
        env={**os.environ, "LD_PRELOAD": preload, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr


HOWS = pytest.mark.parametrize("how", ["batch", "segment", "single"])


@pytest.mark.native
@HOWS
def test_what_the_kernel_does_not_take_waits_and_leaves_in_order(kernel: Path, how: str) -> None:
    under_that_kernel(
        kernel,
        how,
        """
        refuse(1)
        sender.send_batch(numbered(0, 10))
        assert sender.blocked and sender.stats()["queued"] == 10 and sent_now() == []
        refuse(1)
        sender.send_batch(numbered(10, 5))
        assert sender.blocked and sender.stats()["queued"] == 15
        assert sender.flush() == 0
        assert not sender.blocked
        assert sent_now() == [b"%06d" % n for n in range(15)]
        assert sender.stats()["dropped"] == 0 and sender.stats()["kept"] > 0
        """,
    )


@pytest.mark.native
@HOWS
def test_at_most_256_wait_and_the_rest_is_dropped_and_counted(kernel: Path, how: str) -> None:
    under_that_kernel(
        kernel,
        how,
        """
        for first in range(0, 640, 64):
            refuse(1_000_000)
            sender.send_batch(numbered(first, 64))
        assert sender.stats()["queued"] == 256
        assert sender.stats()["dropped"] == 640 - 256
        refuse(0)
        assert sender.flush() == 0
        assert sent_now() == [b"%06d" % n for n in range(256)]
        """,
    )


@pytest.mark.native
def test_the_octets_that_wait_are_bounded_and_given_back(kernel: Path) -> None:
    under_that_kernel(
        kernel,
        "batch",
        """
        refuse(1_000_000)
        sender.send_batch(numbered(0, 256, size=60_000))
        assert 60 <= sender.stats()["queued"] <= 70
        waiting = sender.stats()["queued"]
        assert sender.stats()["dropped"] == 256 - waiting
        refuse(0)
        while sender.flush():
            pass
        assert len(sent_now()) > 30
        sender.send_batch(numbered(0, 3))
        assert sent_now() == [b"%06d" % n for n in range(3)]
        """,
    )


@pytest.mark.native
def test_what_waits_when_a_socket_is_detached_is_sent_or_dropped(kernel: Path) -> None:
    under_that_kernel(
        kernel,
        "batch",
        """
        refuse(1)
        sender.send_batch(numbered(0, 5))
        sender.detach()
        assert sent_now() == [b"%06d" % n for n in range(5)]
        again = DatagramSocket(here.fileno())
        refuse(1)
        again.send_batch(numbered(0, 5))
        refuse(1)
        again.detach()
        assert sent_now() == [] and again.stats()["queued"] == 0 and again.stats()["send_errors"] == 5
        """,
    )


@pytest.mark.native
@HOWS
def test_a_kernel_that_takes_a_few_at_a_time_gets_them_in_order(kernel: Path, how: str) -> None:
    under_that_kernel(
        kernel,
        how,
        """
        for at_most in (1, 2, 7):
            limit(at_most)
            datagrams = [each for n in range(40) for each in numbered(3 * n, 3, size=n % 4)]
            sender.send_batch(datagrams)
            assert sent_now() == [each[0] for each in datagrams]
        """,
    )


@pytest.mark.native
@HOWS
def test_what_leaves_partly_before_the_kernel_refuses_is_not_sent_twice(kernel: Path, how: str) -> None:
    under_that_kernel(
        kernel,
        how,
        """
        limit(3)
        expected, number = [], 0
        for round_ in range(30):
            datagrams = [each for n in range(11) for each in numbered(number + n, 1, size=(number + n) % 3)]
            number += 11
            expected += [each[0] for each in datagrams]
            refuse(round_ % 3)
            sender.send_batch(datagrams)
        refuse(0)
        assert sender.flush() == 0
        assert sent_now() == expected
        """,
    )


@pytest.mark.native
@HOWS
def test_a_kernel_without_buffers_costs_the_datagram_not_the_socket(kernel: Path, how: str) -> None:
    under_that_kernel(
        kernel,
        how,
        """
        refuse(2, errno.ENOBUFS)
        sender.send_batch([*numbered(0, 1, size=3), *numbered(1, 1, size=5), *numbered(2, 1, size=9)])
        assert not sender.blocked
        assert sender.stats()["dropped"] == 2
        assert len(sent_now()) == 1
        """,
    )


@pytest.mark.native
def test_a_route_that_cannot_segment_gets_single_datagrams(kernel: Path) -> None:
    under_that_kernel(
        kernel,
        "segment",
        """
        if sender.segments:
            refuse(1, errno.EMSGSIZE)
            sender.send_batch(numbered(0, 30))
            assert sent_now() == [b"%06d" % n for n in range(30)]
            assert sender.stats()["segmented"] == 0 and sender.stats()["send_errors"] == 0
            sender.send_batch(numbered(0, 30))
            assert sender.stats()["segmented"] == 30
        """,
    )


@pytest.mark.native
def test_an_interrupted_send_goes_on(kernel: Path) -> None:
    under_that_kernel(
        kernel,
        "batch",
        """
        refuse(3, errno.EINTR)
        sender.send_batch(numbered(0, 5))
        assert len(sent_now()) == 5
        """,
    )


@pytest.mark.native
def test_memory_that_fails_costs_the_datagram_not_the_socket(tmp_path: Path) -> None:  # FAULTS 55
    run_with_failing_memory(
        tmp_path,
        """
        import socket
        from sipcore._batch import DatagramSocket
        from sipcore.errors import TransportError

        here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        here.bind(("127.0.0.1", 0))
        here.setblocking(False)
        for nth in range(1, 12):
            failing_at(nth)
            datagrams = None
            try:
                datagrams = DatagramSocket(here.fileno())
                datagrams.send_batch([(bytes(30_000), "127.0.0.1", here.getsockname()[1])] * 20)
            except (MemoryError, TransportError):
                pass
            never_failing()
            if datagrams is None:
                continue
            datagrams.flush()
            while datagrams.receive():
                pass
            datagrams.send_batch([(b"after", "127.0.0.1", here.getsockname()[1])])
            assert [each[0] for each in datagrams.receive()] == [b"after"]
        """,
    )
