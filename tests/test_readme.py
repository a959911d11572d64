"""The README's promises: its example server answers, its example device is read, its links lead somewhere."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sipcore.config import load_device

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "src_pyx").glob("*.md"))]
README = (ROOT / "README.md").read_text()
OPTIONS = (
    b"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKreadme%d\r\n"
    b"From: <sip:reader@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: readme-%d\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def block(language: str) -> str:
    """The README's only code block in that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    return str(found)


def test_the_example_server_answers_options(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
    script = tmp_path / "server.py"
    script.write_text(block("python").replace("127.0.0.1:5060", f"127.0.0.1:{port}"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen([sys.executable, str(script)], env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            answer = first_answer(port, server)
        finally:
            server.terminate()
        log.seek(0)
        assert answer.startswith(b"SIP/2.0 200 OK\r\n"), log.read()


def first_answer(port: int, server: subprocess.Popen[bytes]) -> bytes:
    """What comes back from the port as soon as somebody answers there; nothing when the server ended."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(0.2)
        peer.connect(("127.0.0.1", port))
        for attempt in range(100):
            if server.poll() is not None:
                break
            try:
                peer.send(OPTIONS % (attempt, attempt))
                return peer.recv(4096)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                time.sleep(0.1)
    return b""


def test_the_example_device_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SP1_PASSWORD", "secret")
    path = tmp_path / "device.toml"
    path.write_text(block("toml"))
    (service,) = (service for service in load_device(path).services if service.enable and service.auth_user_name)
    assert service.number == 1
    assert service.profile.outbound_proxy == "edge.example.net"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing, missing


def test_make_knows_every_target_that_the_readme_names():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_floor_plan_shows_every_compiled_room():
    plan = (ROOT / "src_pyx/README.md").read_text()
    rooms = [path.stem for path in (ROOT / "src_pyx/sipcore").glob("*.pyx")]
    parts = [path.name for path in (ROOT / "src_pyx/sipcore/c").glob("*.[ch]")]
    missing = [name for name in rooms + parts if f"`{name}`" not in plan]
    assert not missing, missing
