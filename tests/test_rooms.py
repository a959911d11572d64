"""The house rules that a reader would otherwise have to be told: which room may import which, and what no file says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.tree

ROOT = Path(__file__).parent.parent

# Lowest floor first: a room imports from floors below its own only.  A name that ends in ".*" is a
# package whose files may import one another (its cycles are checked like all others).
FLOORS: tuple[tuple[str, ...], ...] = (
    ("constants", "errors", "limits", "loading", "machines", "sharing"),
    ("scan", "addresses", "pools"),
    ("_text",),
    ("_uri",),
    ("_fields",),
    ("headers.*",),
    ("_serialize", "_head", "body", "sdp"),
    ("_message", "offer_answer"),
    ("_framing", "_timers", "_yardstick", "_locals", "_batch"),
    ("_peers",),
    ("_connections",),
    ("_outbox", "_transactions"),
    ("_overload",),
    ("_core",),
    ("_client", "_server"),
    ("_group",),
    ("_intake",),
    ("_streams",),
    ("_engine",),
    ("digest", "events", "policy.*"),
    (
        "config_keys",
        "config_lines",
        "dialog",
        "dns_exchange",
        "env",
        "handover",
        "location",
        "register_response",
        "status",
    ),
    ("binding_store", "config", "driver", "ports", "resolver", "streams", "workers"),
    ("finding", "interfaces", "no_media", "pacing", "pinging", "simnet", "sockets", "tls", "watchdog"),
    ("secure",),
    ("websocket",),
    ("listening",),
    ("streaming",),
    ("aio",),
    ("sim",),
    ("connecting", "outgoing", "reliable", "restraint", "uas"),
    ("handling",),
    ("nexthop", "session"),
    ("call",),
    ("hunting",),
    ("user_agent",),
    ("stack",),
    ("succession", "worker_process"),
    ("serving",),
    ("admission", "answering", "credentials", "forking", "keeper", "link", "registrant"),
    ("membership", "proxy", "registration_path", "routing", "ways"),
    ("contact_port", "local_address", "registering", "registrar", "registrations"),
    ("simpeers",),
    ("service",),
    ("device",),
    ("",),  # the public face, sipcore/__init__.py
    ("pytest_plugin",),
    ("demo", "bench.*"),
    ("cli.*",),
    ("__main__",),
)

# What a room must not know, whatever floor it stands on.
WORLD = (
    "asyncio",
    "socket",
    "ssl",
    "select",
    "threading",
    "subprocess",
    "uvloop",
    "dns",
    "time",
    "datetime",
    "secrets",
)
NEVER: dict[str, tuple[str, ...]] = {
    "policy.*": (*WORLD, "os", "sipcore._"),
    # A Date is a datetime value; reading the clock is what `time` and `wall_time` stand for.
    "headers.*": (*(name for name in WORLD if name != "datetime"), "os"),
    "dialog": WORLD,
    "digest": WORLD,
    "sdp": WORLD,
    "offer_answer": WORLD,
    "body": WORLD,
    "machines": WORLD,
}


class Import(NamedTuple):
    """`room` names `imported` (a dotted name) at `line` of `path`."""

    path: Path
    line: int
    room: str
    imported: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.imported}"


def room_of(module: str) -> str:
    """The name in FLOORS under which a dotted sipcore module lives, without the leading package name."""
    name = module.removeprefix("sipcore").lstrip(".")
    package = name.split(".")[0] + ".*"
    return package if any(package in floor for floor in FLOORS) else name.split(".")[0]


def floor_of(room: str) -> int:
    """The floor that a room stands on, 0 the lowest."""
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    raise KeyError(f"{room} stands on no floor: give it one in FLOORS of {Path(__file__).name}")


def python_modules() -> Iterator[tuple[Path, str]]:
    """Each Python file of the package and its dotted name."""
    for path in sorted((ROOT / "sipcore").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def compiled_sources() -> Iterator[tuple[Path, str]]:
    """Each .pyx and .pxd of a compiled room and its dotted name."""
    for path in sorted((ROOT / "src_pyx/sipcore").glob("*.p[yx][xd]")):
        if path.stem != "__init__":
            yield path, f"sipcore.{path.stem}"


def python_imports(path: Path, module: str) -> Iterator[Import]:
    """The modules that a Python file names in import statements, those for type checkers alone left out."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, room_of(module), alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            base = node.module or ""
            for alias in node.names:
                yield Import(path, node.lineno, room_of(module), resolve(base, alias.name))


def cython_imports(path: Path, module: str) -> Iterator[Import]:
    """The sipcore modules that a Cython file cimports or imports."""
    pattern = re.compile(r"^\s*(?:from\s+(sipcore[\w.]*)\s+c?import\s+([\w, ]+)|c?import\s+(sipcore[\w.]*))")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if found := pattern.match(line):
            base, names, plain = found.groups()
            for name in names.split(",") if base else ():
                yield Import(path, number, room_of(module), resolve(base, name.split()[0]))
            if plain:
                yield Import(path, number, room_of(module), plain)


MODULES = {module for _, module in (*python_modules(), *compiled_sources())}


def resolve(base: str, name: str) -> str:
    """The module that `from base import name` reads: `base.name` if that is one, else `base`."""
    return f"{base}.{name}" if f"{base}.{name}" in MODULES else base


def all_imports() -> list[Import]:
    """Every import statement of the package and its compiled rooms."""
    found = [one for path, module in python_modules() for one in python_imports(path, module)]
    return found + [one for path, module in compiled_sources() for one in cython_imports(path, module)]


def is_inside(one: Import) -> bool:
    """Whether an import stays within the package."""
    return one.imported.split(".")[0] == "sipcore"


def test_every_room_stands_on_a_floor():
    for module in MODULES:
        floor_of(room_of(module))


def test_imports_run_downwards_only():
    upwards = []
    for one in all_imports():
        target = room_of(one.imported)
        if is_inside(one) and target != one.room and floor_of(target) >= floor_of(one.room):
            upwards.append(f"{one}, which is not below {one.room}")
    assert not upwards, "\n".join(upwards)


def test_no_two_files_import_each_other():
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for path, module in python_modules():
        graph[module] |= {one.imported for one in python_imports(path, module)} - {module}
    for path, module in compiled_sources():
        graph[module] |= {one.imported for one in cython_imports(path, module)} - {module}
    for module in MODULES - {"sipcore"}:
        assert module not in reachable(graph, module), f"{module} imports itself in a circle"


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that `start` imports, directly or through others."""
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += graph.get(module, ())
    return seen


@pytest.mark.parametrize("room", NEVER)
def test_a_room_does_not_know_the_world(room):
    broken = [
        str(one)
        for one in all_imports()
        if one.room == room and any(names(one.imported, forbidden) for forbidden in NEVER[room])
    ]
    assert not broken, "\n".join(broken)


def names(imported: str, forbidden: str) -> bool:
    """Whether an import is of `forbidden`: a module, what lies in it, or what begins with `prefix_`."""
    return imported == forbidden or imported.startswith(forbidden if forbidden.endswith("_") else forbidden + ".")


def test_the_c_rooms_do_not_know_python():
    for path in sorted((ROOT / "src_pyx/sipcore/c").glob("*.[ch]")):
        assert "Python.h" not in path.read_text(), path


TEXT_FOLDERS = (".ci", "benches", "docs", "sipcore", "src_pyx", "tests", "wheels")
GENERATED = ("names.h",)  # written by make_names.py, read by nobody
SOURCE_SUFFIXES = (".py", ".pyi", ".pyx", ".pxd", ".c", ".h")
FORBIDDEN = {
    "work that was put off": r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b",
    "a path of somebody's machine": r"(?<![\w.])/(?:wor[k]|far[m]|tmp/[w]|home/\w+)/",
    "a package registry's host": r"pypi\.or[g]|pythonhosted\.or[g]|deb\.debian\.or[g]",
    "a number of a tracker": r"\b[Ii]ssue #?[0-9]+\b",
}


def text_files() -> Iterator[tuple[Path, str]]:
    """Every file of the project that is text, and what it says."""
    top = [
        path
        for path in ROOT.iterdir()
        if path.suffix in (".md", ".toml", ".py", "") and path.is_file() and path.name != ".git"
    ]
    inside = [path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(top + inside):
        if path.suffix not in (".so", ".o", ".pyc", ".dat", ".bin", ".sip"):
            try:
                yield path, path.read_text()
            except UnicodeDecodeError:
                continue


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what):
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_files_stay_under_600_lines():
    long = {
        str(path.relative_to(ROOT)): text.count("\n")
        for path, text in text_files()
        if path.suffix in SOURCE_SUFFIXES and path.name not in GENERATED and text.count("\n") > 600
    }
    assert not long, long


def test_functions_stay_under_60_lines():
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path, _ in python_modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 60
    }
    assert not long, long


def test_every_module_says_what_it_is():
    for path, _ in python_modules():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    for path, _ in compiled_sources():
        if path.suffix == ".pyx":
            assert re.match(r'(#.*\n|\s*\n)*"""', path.read_text()), f"{path} has no docstring"
