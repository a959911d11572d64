"""SIPp as a caller and as an answerer, with every message that it counted."""

import csv
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .processes import LOOPBACK, Server, find_program, free_port

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Counts:
    """What one SIPp run saw, over all its calls."""

    calls: int
    successful: int
    failed: int
    unexpected: int
    out_of_call: int
    retransmitted: int  # by SIPp, and by the far side as SIPp saw it
    messages: dict[str, int]  # "0_INVITE_Sent": 1000

    @property
    def is_clean(self) -> bool:
        """Every call as the scenario says, nothing sent twice, nothing that belongs to no call."""
        return self.successful == self.calls and not (
            self.failed or self.unexpected or self.out_of_call or self.retransmitted
        )


def read_counts(statistics: Path, messages: Path) -> Counts:
    """The last line of each of SIPp's two tables."""
    last, seen = _last_row(statistics), _last_row(messages)
    numbers = {name: int(value) for name, value in seen.items() if re.fullmatch(r"\d+_.*", name)}
    by_kind = {
        kind: sum(count for name, count in numbers.items() if name.endswith(kind)) for kind in ("_Retrans", "_Unexp")
    }
    return Counts(
        calls=int(last["TotalCallCreated"]),
        successful=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        unexpected=by_kind["_Unexp"] + int(last["FailedUnexpectedMessage(C)"]),
        out_of_call=int(last["OutOfCallMsgs(C)"]) + int(last["DeadCallMsgs(C)"]),
        retransmitted=by_kind["_Retrans"],
        messages=numbers,
    )


def _last_row(path: Path) -> dict[str, str]:
    with path.open(newline="") as table:
        return list(csv.DictReader(table, delimiter=";"))[-1]


class Sipp(Server):
    """One SIPp process with a scenario from `scenarios/`.

    With `transport="TLS"` it writes TLS into its messages and `advertised` as its port: stunnel stands there, since
    Debian's SIPp has no TLS of its own.
    """

    name = "sipp"

    def __init__(
        self,
        folder: Path,
        scenario: str,
        *,
        target: int | None = None,
        service: str = "service",
        calls: int | None = None,
        rate: int = 50,
        concurrent: int = 200,
        transport: str = "UDP",
        credentials: tuple[str, str] | None = None,
        seconds: int = 120,
        port: int | None = None,
        advertised: int | None = None,
    ) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self.advertised = advertised or self.port
        self.scenario = scenario
        self.target = target
        self.service = service
        self.calls = calls
        self.rate = rate
        self.concurrent = concurrent
        self.transport = transport
        self.credentials = credentials
        self.seconds = seconds
        self.statistics = folder / f"sipp-{self.port}-statistics.csv"

    def command(self) -> list[str]:
        words = [find_program("sipp") or "sipp", "-sf", str(self.scenario_file())]
        words += ["-i", LOOPBACK, "-p", str(self.port), "-t", "u1" if self.transport == "UDP" else "t1"]
        words += ["-s", self.service, "-nostdin", "-trace_err", "-trace_counts", "-trace_stat", "-fd", "1"]
        words += ["-stf", str(self.statistics), "-timeout", str(self.seconds)]
        if self.credentials:
            words += ["-au", self.credentials[0], "-ap", self.credentials[1]]
        if self.calls is not None:
            words += ["-m", str(self.calls)]
        if self.target is not None:
            words += ["-r", str(self.rate), "-l", str(self.concurrent), f"{LOOPBACK}:{self.target}"]
        return words

    def scenario_file(self) -> Path:
        """The scenario; for TLS a copy that says so."""
        path = SCENARIOS / f"{self.scenario}.xml"
        if self.transport != "TLS":
            return path
        text = path.read_text().replace("[transport]", "TLS").replace("[local_port]", str(self.advertised))
        copy = self.folder / path.name
        copy.write_text(text)
        return copy

    def is_ready(self) -> bool:
        return self.statistics.exists()

    def run(self) -> Counts:
        """Run to the end of its calls and return what it counted."""
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        return self.finish()

    def finish(self) -> Counts:
        """Wait for the end of its calls and return what it counted."""
        assert self.process is not None
        message_counts = self.folder / f"{self.scenario}_{self.process.pid}_counts.csv"
        try:
            self.process.wait(self.seconds + 10)
        finally:
            self.stop()
        return read_counts(self.statistics, message_counts)

    def finish_calls(self) -> Counts:
        """Let an answerer end its running calls, then return what it counted."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        return self.finish()

    def progress(self) -> int:
        """How many calls have ended as they should, so far (told once a second)."""
        try:
            return int(_last_row(self.statistics)["SuccessfulCall(C)"])
        except (OSError, IndexError, KeyError, TypeError, ValueError):
            return 0

    def errors(self) -> str:
        """What SIPp wrote about messages that it did not expect."""
        found = sorted(self.folder.glob(f"{self.scenario}_*_errors.log"))
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in found)
