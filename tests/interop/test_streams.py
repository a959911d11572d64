"""A Stack on streams against real peers: SIPp over TCP and TLS, OpenSSL's client, Wireshark with the keys of TLS."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from sipcore.aio import AsyncioEnv, run
from sipcore.call import IncomingCall
from sipcore.sim import ScriptedDns
from sipcore.stack import Stack

from .capture import Capture
from .conftest import Peers
from .kamailio import CERTIFICATES
from .processes import free_port
from .sipp import Counts, Sipp
from .stunnel import Stunnel

pytestmark = pytest.mark.interop

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n"
CALLS = 200


def server_context(name: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem", CERTIFICATES / f"{name}.key")
    return context


async def place_calls(stack: Stack, uri: str) -> None:
    """CALLS calls, four at a time, each answered and hung up."""
    for _ in range(CALLS // 4):
        calls = [stack.dial(uri, body=SDP) for _ in range(4)]
        for call in calls:
            async with call:
                await call.answered()


TRANSPORTS = pytest.mark.parametrize("transport", ["TCP", "TLS"])


@TRANSPORTS
def test_calls_of_sipp_are_taken(peers: Peers, tmp_path: Path, transport: str) -> None:
    async def main() -> tuple[Counts, str, int]:
        async with Stack() as stack:
            context = server_context() if transport == "TLS" else None
            listener = await stack.listen(transport.lower(), "127.0.0.1:0", ssl=context)

            @stack.on_invite
            async def inbound(call: IncomingCall) -> None:
                await call.progress(180)
                await call.answer(SDP)
                await call.ended()

            target = listener.port
            if transport == "TLS":
                target = (await asyncio.to_thread(peers.start, Stunnel(tmp_path, target))).port
            caller = Sipp(tmp_path, "caller", target=target, calls=CALLS, rate=100, transport=transport)
            seen = await asyncio.to_thread(caller.run)
            return seen, caller.errors(), stack.engine.stats()["request_retransmissions"]

    seen, errors, retransmissions = run(main())
    assert seen.calls == CALLS
    assert seen.is_clean, (seen, errors)
    assert retransmissions == 0


@TRANSPORTS
def test_calls_are_placed_at_sipp_on_one_connection(peers: Peers, tmp_path: Path, transport: str) -> None:
    port = free_port()
    door = peers.start(Stunnel(tmp_path, port, serves=True)).port if transport == "TLS" else port
    answerer = peers.start(Sipp(tmp_path, "answerer", transport=transport, port=port, advertised=door))

    async def main() -> int:
        async with Stack() as stack:
            stack.ua.tls_context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
            context = server_context() if transport == "TLS" else None
            await stack.listen(transport.lower(), "127.0.0.1:0", ssl=context)
            uri = f"sip:a@127.0.0.1:{door};transport={transport.lower()}"
            await place_calls(stack, uri)
            return len(stack.engine.connections())

    assert run(main()) == 1
    seen = answerer.finish_calls()
    assert seen.calls == CALLS
    assert seen.is_clean, (seen, answerer.errors())


async def openssl(port: int, octets: bytes, *options: str) -> tuple[int, bytes]:
    """What `openssl s_client` says and ends with; it sends `octets` once it is connected."""
    process = await asyncio.create_subprocess_exec(
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-CAfile",
        str(CERTIFICATES / "ca.pem"),
        "-verify_return_error",
        "-quiet",
        *options,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(octets)
    told = b""
    try:
        async with asyncio.timeout(5):
            while b"SIP/2.0 200 OK" not in told and (more := await process.stdout.read(4_096)):
                told += more
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.terminate()
    return await process.wait(), told


OPTIONS = (
    b"OPTIONS sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKopenssl\r\nMax-Forwards: 70\r\n"
    b"From: <sip:openssl@example.com>;tag=1\r\nTo: <sip:sip.example.com>\r\nCall-ID: openssl\r\nCSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    "certificate, name, says",
    [
        ("server", "sip.example.com", b"SIP/2.0 200 OK"),
        ("server", "other.example.com", b"hostname mismatch"),
        ("expired", "sip.example.com", b"certificate has expired"),
        ("foreign", "sip.example.com", b"unable to get local issuer certificate"),
    ],
)
def test_openssl_sees_the_certificate_as_we_do(certificate: str, name: str, says: bytes) -> None:
    """FAULTS 16, from the other side."""

    async def main() -> tuple[bytes, int]:
        async with Stack() as stack:
            listener = await stack.listen("tls", "127.0.0.1:0", ssl=server_context(certificate))
            _, told = await openssl(listener.port, OPTIONS, "-servername", name, "-verify_hostname", name)
            return told, stack.engine.stats()["requests"]

    told, requests = run(main())
    assert says.lower() in told.lower(), told
    assert requests == (says.startswith(b"SIP/2.0"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_wireshark_decodes_every_message_with_the_keys(peers: Peers, tmp_path: Path, version: ssl.TLSVersion) -> None:
    keys = tmp_path / "keys.log"

    async def main() -> int:
        async with Stack() as server:
            listener = await server.listen("tls", "127.0.0.1:0", ssl=server_context())
            server.on("MESSAGE", lambda request: request.reply(202, body=b"thanks"))
            capture = peers.start(Capture(tmp_path, [listener.port]))
            names = ScriptedDns({("sip.example.com", "A"): ["127.0.0.1"]})
            async with Stack(env=AsyncioEnv(resolver=names)) as client:
                context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
                context.maximum_version = version
                context.keylog_filename = str(keys)
                client.ua.tls_context = context
                uri = f"sips:sip.example.com:{listener.port}"
                for number in range(20):
                    response = await client.request("MESSAGE", uri, body=b"x" * 100 * number)
                    assert response.status_code == 202
        await asyncio.to_thread(capture.stop)
        told = decoded(capture, listener.port, keys, "sip")
        assert decoded(capture, listener.port, keys, "_ws.malformed or (sip and _ws.expert.severity == error)") == []
        return sum(line.count("MESSAGE") for line in told)

    assert run(main()) == 40, "twenty requests, and CSeq in twenty responses"


def decoded(capture: Capture, port: int, keys: Path, display: str) -> list[str]:
    """The CSeq methods of the packets that a display filter shows, decrypted."""
    return capture._tshark(
        *("-o", f"tls.keylog_file:{keys}", "-d", f"tcp.port=={port},tls", "-d", f"tls.port=={port},sip"),
        *("-Y", display, "-T", "fields", "-e", "sip.CSeq.method"),
    )
