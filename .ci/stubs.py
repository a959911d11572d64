"""Check every stub of a compiled room against the module that was built (mypy.stubtest)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALLOWED = ROOT / ".ci" / "stubs-allowed.txt"


def compiled_modules() -> list[str]:
    """The modules that have a stub, and so no Python source."""
    return [f"sipcore.{stub.stem}" for stub in sorted((ROOT / "sipcore").glob("*.pyi"))]


def main() -> int:
    """Exit code of stubtest over all compiled modules."""
    command = [sys.executable, "-m", "mypy.stubtest", *compiled_modules()]
    command += ["--allowlist", str(ALLOWED), "--ignore-unused-allowlist", "--ignore-disjoint-bases"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
