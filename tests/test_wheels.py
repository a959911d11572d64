"""What is published: the same octets from each build of a commit, and nothing left out of the source distribution."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tree]

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "build/wheel-tools"
ONE_TARGET = ("--architecture", "x86_64", "--python", "3.11", "--no-abi3", "--no-sdist")


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder of the interpreter that has the build tools, made as `make wheels` makes it."""
    subprocess.run(["make", "-s", "build/wheel-tools/installed.stamp"], cwd=ROOT, check=True)
    return TOOLS / "bin"


def build(tools: Path, clone: Path, out: Path, *arguments: str, cache: Path) -> dict[str, str]:
    """The sums of what a build in `clone` makes, with compiler caches of its own."""
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "ZIG_LOCAL_CACHE_DIR": str(cache)}
    environment |= {"ZIG_GLOBAL_CACHE_DIR": str(cache)}
    subprocess.run(["python", "wheels/build.py", "--out", out, *arguments], cwd=clone, env=environment, check=True)
    lines = [line.split() for line in (out / "SHA256SUMS").read_text().splitlines()]
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == told for told, name in lines)
    return {name: told for told, name in lines}


def clone_of_the_tree(folder: Path) -> Path:
    """A clone of the commit elsewhere, the headers that were unpacked shared with this tree."""
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    (ROOT / "build/roots").mkdir(parents=True, exist_ok=True)
    (folder / "build").mkdir()
    (folder / "build/roots").symlink_to(ROOT / "build/roots")
    return folder


def test_two_builds_of_a_commit_are_the_same_octets(tools, tmp_path):
    """In folders of different names, the second without what the compiler remembers of the first."""
    sums = []
    for name in ("one", "another-folder"):
        clone = clone_of_the_tree(tmp_path / name)
        sums.append(build(tools, clone, tmp_path / f"out-{name}", *ONE_TARGET, cache=tmp_path / f"cache-{name}"))
    assert sums[0] == sums[1]
    assert [name.rpartition("-")[0] for name in sums[0]] == ["sipcore-0.1.0-cp311-cp311"]


def test_released_wheels_are_those_of_the_sums():
    """Whatever commit they were built from; a tree without released wheels has no sums."""
    sums = ROOT / "wheels/SHA256SUMS"
    told = dict(line.split()[::-1] for line in sums.read_text().splitlines()) if sums.exists() else {}
    files = [*(ROOT / "wheels").glob("*.whl"), *(ROOT / "wheels").glob("*.tar.gz")]
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files} == told


def test_the_source_distribution_holds_every_file_but_finished_wheels(tools, tmp_path):
    clone = clone_of_the_tree(tmp_path / "clone")
    build(tools, clone, tmp_path / "out", "--no-wheels", cache=tmp_path / "cache")
    listed = subprocess.run(["git", "ls-files"], cwd=clone, capture_output=True, text=True, check=True).stdout
    expected = {
        name
        for name in listed.splitlines()
        if not name.endswith((".whl", ".tar.gz")) and name not in (".gitignore", ".gitattributes", "wheels/SHA256SUMS")
    }
    with tarfile.open(next((tmp_path / "out").glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert expected <= held
    assert not [name for name in held if name.endswith((".so", ".whl", ".pyc"))]
