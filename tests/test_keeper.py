"""Keep-alives of a whole device on the simulated network (SPEC B15)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from kit import parsed_request, response_octets
from provider import DEVICE_HOST, make_device
from test_device import until

from sipcore import sim
from sipcore.config import parse_device
from sipcore.device import Device
from sipcore.sim import SimNetwork
from sipcore.simnet import StreamPeer

PEER = "192.0.2.77"
Story = Callable[[SimNetwork, Device], Awaitable[None]]


def play(keys: str, story: Story, *, transport: str = "UDP", register: bool = False, profile: str = "") -> None:
    """A device without registration whose ProxyServer is the test's own peer."""
    text = (
        f'[itsp.A]\nProxyServer = "{PEER}"\nProxyServerTransport = "{transport}"\n{profile}[sp.1]\nAuthUserName = "a"\n'
        f"X_RegisterEnable = {str(register).lower()}\nX_KeepAliveEnable = true\n{keys}"
    )

    async def main(network: SimNetwork) -> None:
        async with make_device(network, parse_device(text)) as device:
            await story(network, device)

    sim.run(main)


@pytest.mark.parametrize(
    ("kind", "octets"), [("keep-alive", b"keep-alive"), ("empty", b""), ("stun", b"\x00\x01\x00\x00\x21\x12\xa4\x42")]
)
def test_the_first_three_kinds_go_to_the_keep_alive_server(kind: str, octets: bytes):
    """SPEC B15: every X_KeepAliveExpires seconds, from the contact port."""

    async def story(network: SimNetwork, device: Device) -> None:
        peer = network.datagram_peer("192.0.2.78", 3478)
        seen = [await peer.receive() for _ in range(3)]
        assert all(data.startswith(octets) and (octets or not data) for data, _ in seen)
        assert {source for _, source in seen} == {(DEVICE_HOST, 5060)}
        started = asyncio.get_running_loop().time()
        await peer.receive()
        assert asyncio.get_running_loop().time() - started == pytest.approx(15.0, abs=0.1)

    play(f'X_KeepAliveMsgType = "{kind}"\nX_KeepAliveServer = "192.0.2.78"\nX_KeepAliveServerPort = 3478\n', story)


def test_without_a_server_they_go_where_register_goes():
    """SPEC B15."""

    async def story(network: SimNetwork, device: Device) -> None:
        peer = network.datagram_peer(PEER, 5060)
        register, source = await peer.receive()
        assert register.startswith(b"REGISTER ")
        data, again = await peer.receive()
        while data != b"keep-alive":
            data, again = await peer.receive()
        assert source == again

    play("", story, register=True)


def test_options_go_by_the_ordinary_next_hop():
    """SPEC B15, C1."""

    async def story(network: SimNetwork, device: Device) -> None:
        data, _ = await network.datagram_peer(PEER, 5060).receive()
        assert data.startswith(f"OPTIONS sip:{PEER} SIP/2.0\r\n".encode())

    play('X_KeepAliveMsgType = "options"\nX_KeepAliveServer = "192.0.2.78"\n', story)


def test_a_custom_message_is_sent_once_each_time():
    """SPEC B15: not retransmitted."""

    async def story(network: SimNetwork, device: Device) -> None:
        peer = network.datagram_peer(PEER, 5060)
        await peer.receive()
        seen = []
        async with asyncio.timeout(45):
            while len(seen) < 2:
                data, _ = await peer.receive()
                if data == b"hello":
                    seen.append(asyncio.get_running_loop().time())
        assert seen[1] - seen[0] == pytest.approx(15.0, abs=0.1)

    play('X_KeepAliveMsgType = "custom"\nX_KeepAliveCustomMessage = "hello"\n', story, register=True)


def test_nothing_is_sent_after_the_device_stopped():
    """SPEC B15, B16."""

    async def story(network: SimNetwork, device: Device) -> None:
        peer = network.datagram_peer("192.0.2.78", 3478)
        await peer.receive()
        await device.stop()
        with pytest.raises(TimeoutError):
            await peer.receive(60.0)

    play('X_KeepAliveServer = "192.0.2.78"\nX_KeepAliveServerPort = 3478\n', story)


@pytest.mark.parametrize(
    ("offer", "answer", "closes"),
    [
        (b";keep", b";keep=20", True),
        (b";keep", b";keep", False),
        (b"Supported: path, outbound\r\n", b"Require: outbound\r\nSupported: path, outbound\r\n", True),
        (b"Supported: path, outbound\r\n", b"Supported: path, outbound\r\n", False),
    ],
)
def test_a_missing_pong_closes_the_connection_only_where_answers_were_agreed_on(
    offer: bytes, answer: bytes, closes: bool
):
    """SPEC B15: keep (RFC 6223) or outbound (RFC 5626), with a registrar that never sent a pong."""

    async def story(network: SimNetwork, device: Device) -> None:
        peers: list[StreamPeer] = []
        network.listen_stream((PEER, 5060), lambda stream: peers.append(StreamPeer(stream)) or True)
        await until(lambda: bool(peers), 70)
        register = await peers[0].receive_until(b"\r\n\r\n")
        assert offer in register
        contact = parsed_request(register)["Contact"]
        granted = response_octets(register.replace(offer, answer, 1), 200, headers=[f"Contact: {contact}"])
        if b"Require" in answer:
            granted = granted.replace(b"To: ", b"Require: outbound\r\nTo: ", 1)
        peers[0].send(granted)
        await device.sp[1].registered(timeout=5)
        await peers[0].receive_until(b"\r\n\r\n\r\n\r\n")
        await asyncio.sleep(14)
        assert len(peers) == (2 if closes else 1)

    play("", story, transport="TCP", register=True, profile="X_OutboundSupport = true\nRegistrationPeriod = 3600\n")


def test_datagrams_that_nobody_answers_offer_nothing():
    """SPEC B15: `keep-alive` over UDP has no pong."""

    async def story(network: SimNetwork, device: Device) -> None:
        register, _ = await network.datagram_peer(PEER, 5060).receive()
        assert b";keep" not in register

    play("", story, register=True)
