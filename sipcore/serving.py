"""A program of several workers: `serve(application, workers=N)` runs the application in N processes that share ports.

    async def application(stack):
        await stack.listen("udp", "0.0.0.0:5060")

        @stack.on("OPTIONS")
        def options(request):
            return request.reply(200)

    if __name__ == "__main__":
        sys.exit(sipcore.serve(application, workers="auto"))

The process that calls `serve` becomes the supervisor: it binds the ports, keeps
them open while a worker is replaced, and never handles SIP.  What a worker does
inside is `worker_process`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from sipcore.errors import TransportError, UsageError
from sipcore.handover import notify_systemd, receive_message, send_message
from sipcore.policy.workers import Restarts, free_numbers, merge_reports
from sipcore.ports import SharedPorts
from sipcore.succession import Predecessor, Succession
from sipcore.worker_process import Application, run_worker
from sipcore.workers import Place

logger = logging.getLogger("sipcore.serving")

GRACE = 32.0  # seconds; 64*T1
KILL_AFTER = 5.0  # seconds beyond the grace
BREATH = 1.0  # seconds; a signal to the whole process group may come twice
WATCHDOG = 30.0  # seconds
PING = 2.0  # seconds between two questions whether a worker's loop still turns
START_TIMEOUT = 60.0  # seconds until an application has to be ready
MAILBOX = 4 * 1024 * 1024  # octets asked for
MOST_WORKERS = 24
DONE, FAILED = 0, 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


def serve(
    application: Application,
    *,
    workers: int | str = "auto",
    spread: str = "address",
    grace: float = GRACE,
    handover: str = "",
    watchdog: float = WATCHDOG,
    on_report: Callable[[dict[str, Any]], None] | None = None,
    seconds: float | None = None,
) -> int:
    """Run `application(stack)` in `workers` processes until SIGTERM or SIGINT; returns the exit code.

    `application` is called once in each process, with that worker's stack; an
    `async def` sets things up and returns, one with a `yield` sets up before it
    and clears away after it.  `workers`: how many, or "auto", one for each
    processor that this process may use.  `spread`: "address", a new request
    stays with the worker that the kernel gave it to, which goes by the sender's
    address and port; or "call", it goes to the worker that its Call-ID falls to,
    for peers that send everything from one port.  At the end running calls and
    transactions get `grace` seconds.  `handover`: a Unix socket's path; a
    program started with the same one takes the ports of the one that runs, which
    then only ends what it has begun.  `watchdog`: a worker whose loop says nothing
    for that many seconds is killed and started again (0: never).  `on_report(report)` hears at the end what
    the workers counted, added up.  `seconds`: end by itself after that time.

    A worker that dies is started again; 1 is returned when the application does
    not start, 0 at the end.  UsageError inside a running event loop.
    """
    if spread not in ("address", "call"):
        raise UsageError(f"spread is 'address' or 'call', not {spread!r}")
    _refuse_loop()
    count = worker_count(workers)
    return Supervisor(
        application,
        count,
        by_call=spread == "call",
        grace=grace,
        handover=handover,
        watchdog=watchdog,
        on_report=on_report,
        seconds=seconds,
    ).run()


def worker_count(workers: int | str) -> int:
    """The number of workers meant; "auto" is one for each processor that this process may use."""
    count = len(os.sched_getaffinity(0)) if workers == "auto" else workers
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"workers is a number from 1 or 'auto', not {workers!r}")
    if count > MOST_WORKERS and workers == "auto":
        return MOST_WORKERS
    if count > MOST_WORKERS:
        raise UsageError(f"at most {MOST_WORKERS} workers, not {count}")
    return count


def _refuse_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("serve() starts processes and loops of its own: call it outside of a running loop")


class Slot:
    """One worker's place as the supervisor sees it: its process comes and goes, its number and its mailbox stay."""

    def __init__(self, number: int, index: int) -> None:
        self.number = number
        self.index = index
        self.mailbox, self.box = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for one in (self.mailbox, self.box):
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                one.setsockopt(socket.SOL_SOCKET, option, MAILBOX)
        self.box.setblocking(False)
        self.restarts = Restarts(random.SystemRandom())
        self.pid = 0
        self.control: socket.socket | None = None
        self.started = 0.0
        self.is_ready = False
        self.has_begun = False
        self.due: float | None = None  # when to start it again
        self.report: Mapping[str, Any] = {}
        self.silent = 0  # pings that it has not answered

    def tell(self, message: dict[str, Any], sockets: list[socket.socket] | None = None) -> None:
        """Send a message to the worker; nothing happens when it is gone."""
        if self.control is not None:
            with contextlib.suppress(OSError):
                send_message(self.control, message, sockets or [])

    def close(self) -> None:
        for one in (self.mailbox, self.box, self.control):
            if one is not None:
                one.close()


class Supervisor:
    """Starts workers, keeps their ports open, starts them again, ends them.  Handles no SIP and runs no event loop."""

    def __init__(
        self,
        application: Application,
        count: int,
        *,
        by_call: bool = False,
        grace: float = GRACE,
        handover: str = "",
        watchdog: float = 0.0,
        on_report: Callable[[dict[str, Any]], None] | None = None,
        seconds: float | None = None,
    ) -> None:
        self.application = application
        self.count = count
        self.by_call = by_call
        self.grace = grace
        self.watchdog = watchdog
        self.on_report = on_report
        self.seconds = seconds
        self.secret = os.urandom(16)
        self.ports = SharedPorts(count)
        self.slots: list[Slot] = []
        self.selector = selectors.DefaultSelector()
        self.predecessor: Predecessor | None = None
        self.succession = Succession(self, handover)
        self.was_ready = False  # all workers were ready once
        self.is_up = False  # and have begun
        self.exit_code = DONE
        self.ends_at: float | None = None  # asked to end: when to lose patience
        self.retired = False
        self.stops_at: float | None = None
        self.pings_at: float | None = time.monotonic() + PING if watchdog else None
        self._reporting: set[int] = set()

    # the whole

    def run(self) -> int:
        """Serve until told to end; the exit code."""
        waker, woken = socket.socketpair()
        for one in (waker, woken):
            one.setblocking(False)
        self.selector.register(woken, selectors.EVENT_READ, self._drain_signals)
        self._woken = woken
        former = {number: signal.signal(number, _heed_not) for number in SIGNALS}
        former_waker = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            self._begin()
            while any(slot.pid or slot.due is not None for slot in self.slots):
                self._turn()
        finally:
            signal.set_wakeup_fd(former_waker)
            for number, handler in former.items():
                signal.signal(number, handler)
            self._end_all()
            waker.close()
            woken.close()
        if self.on_report is not None:
            self.on_report(merge_reports(slot.report for slot in self.slots))
        return self.exit_code

    def _begin(self) -> None:
        self.predecessor = self.succession.take_over()
        taken: tuple[int, ...] = ()
        if self.predecessor is not None:
            self.secret, taken = self.predecessor.secret, tuple(self.predecessor.boxes)
            self.ports.adopt(self.predecessor.sockets)
        self.slots = [Slot(number, index) for index, number in enumerate(free_numbers(self.count, taken))]
        if self.predecessor is not None:
            self.succession.introduce(self.predecessor, {slot.number: slot.box for slot in self.slots})
        self.stops_at = None if self.seconds is None else time.monotonic() + self.seconds
        for slot in self.slots:
            self.start(slot)

    def _turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        now = time.monotonic()
        for key, _ in self.selector.select(self._patience(now)):
            key.data()
        now = time.monotonic()
        for slot in self.slots:
            if slot.due is not None and slot.due <= now:
                self.start(slot)
            elif slot.pid and not slot.is_ready and now > slot.started + START_TIMEOUT:
                logger.error("worker %d is not ready after %g s", slot.number, START_TIMEOUT)
                os.kill(slot.pid, signal.SIGKILL)
                slot.started = now
        if self.pings_at is not None and now >= self.pings_at:
            self.pings_at = now + PING
            self._watch()
        if self.stops_at is not None and now >= self.stops_at:
            self.stop()
        if self.ends_at is not None and now >= self.ends_at:
            self._kill()
        self.succession.turn(now)

    def _watch(self) -> None:
        """Ask each worker whether it is alive; counted are questions, so that a stopped supervisor blames nobody."""
        for slot in self.slots:
            if not slot.pid or not slot.is_ready:
                continue
            slot.silent += 1
            if slot.silent * PING > self.watchdog:
                logger.error("worker %d has said nothing for %g s", slot.number, self.watchdog)
                slot.silent = 0
                os.kill(slot.pid, signal.SIGKILL)
            slot.tell({"do": "ping"})

    def _patience(self, now: float) -> float:
        instants = [slot.due for slot in self.slots if slot.due is not None]
        instants += [slot.started + START_TIMEOUT for slot in self.slots if slot.pid and not slot.is_ready]
        instants += [at for at in (self.ends_at, self.stops_at, self.pings_at, self.succession.due) if at is not None]
        return max(0.0, min(instants) - now) + 0.001 if instants else 3600.0

    def _end_all(self) -> None:
        for slot in self.slots:
            if slot.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(slot.pid, signal.SIGKILL)
                os.waitpid(slot.pid, 0)
            slot.close()
        self.succession.close()
        self.ports.close()
        self.selector.close()

    # one worker

    def start(self, slot: Slot) -> None:
        """Start the process of a worker."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)  # a worker that does not listen must not stop the others
        slot.due, slot.is_ready, slot.silent, slot.started = None, False, 0, time.monotonic()
        place = Place(
            number=slot.number,
            workers=tuple(one.number for one in self.slots),
            secret=self.secret,
            control=theirs,
            mailbox=slot.mailbox,
            boxes=self._boxes(),
            predecessors=tuple(self.predecessor.boxes) if self.predecessor is not None else (),
            by_call=self.by_call,
            asked_first=not self.succession.is_live or self.succession.due is not None,
            held=not self.succession.is_live,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            control.close()
            self._become(slot, place)
        theirs.close()
        slot.pid, slot.control = pid, control
        self.selector.register(control, selectors.EVENT_READ, lambda: self._hear(slot))

    def _become(self, slot: Slot, place: Place) -> None:
        """In the new process: let go of all that is the supervisor's, then work; never returns."""
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else _heed_not)
            self._woken.close()
            self.selector.close()
            for one in self.slots:
                if one.control is not None:
                    one.control.close()
                if one is not slot:
                    one.mailbox.close()
            self.ports.close()
            self.succession.forked()
            code = run_worker(self.application, place)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            logging.getLogger("sipcore.workers").exception("worker %d failed", slot.number)
        finally:
            os._exit(code)

    def _boxes(self) -> dict[int, socket.socket]:
        boxes = dict(self.predecessor.boxes) if self.predecessor is not None else {}
        return boxes | {slot.number: slot.box for slot in self.slots}

    def _hear(self, slot: Slot) -> bool:
        """Heed one thing that a worker says; False when it has nothing to say, or never will again."""
        if slot.control is None:
            return False
        try:
            received = receive_message(slot.control)
        except BlockingIOError:
            return False
        except OSError:
            received = None
        if received is None:
            self._hang_up(slot)
            return False
        slot.silent = 0
        message = received[0]
        if message.get("ask") == "sockets":
            self._give_sockets(slot, message)
        elif message.get("say") == "ready":
            self._is_ready(slot)
        elif message.get("say") == "begun":
            self._has_begun(slot)
        elif message.get("say") == "report":
            slot.report = message["report"]
            self._log_report(slot)
        elif message.get("say") == "done":
            self.succession.heard(slot.number)
        return True

    def _hang_up(self, slot: Slot) -> None:
        if slot.control is not None:
            self.selector.unregister(slot.control)
            slot.control.close()
            slot.control = None

    def _log_report(self, slot: Slot) -> None:
        """What was asked for by SIGUSR1: each worker's report, then all of them added up."""
        if slot.number not in self._reporting:
            return
        self._reporting.discard(slot.number)
        logger.info("worker %d: %s", slot.number, json.dumps(slot.report))
        if not self._reporting:
            logger.info("all workers: %s", json.dumps(merge_reports(one.report for one in self.slots)))

    def _give_sockets(self, slot: Slot, message: dict[str, Any]) -> None:
        try:
            sockets = self.ports.sockets(message["kind"], message["host"], message["port"], slot.index)
        except TransportError as error:
            slot.tell({"answer": "sockets", "error": str(error)})
        else:
            slot.tell({"answer": "sockets"}, sockets)

    def _is_ready(self, slot: Slot) -> None:
        slot.is_ready = True
        if self.was_ready or not all(one.is_ready for one in self.slots):
            return
        self.was_ready = True
        self.succession.begin(self.predecessor)

    def _has_begun(self, slot: Slot) -> None:
        """A worker reads its sockets; once all do, the program is up."""
        slot.has_begun = True
        if not self.is_up and all(one.has_begun for one in self.slots):
            self.is_up = True
            logger.info("%d workers serve", self.count)
            notify_systemd(f"READY=1\nMAINPID={os.getpid()}")

    def _reap(self) -> None:
        """Look who has died."""
        for slot in self.slots:
            if slot.pid:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._died(slot, os.waitstatus_to_exitcode(status))

    def _died(self, slot: Slot, code: int) -> None:
        while self._hear(slot):  # what it said last
            pass
        self._hang_up(slot)
        self.succession.heard(slot.number)
        lived, slot.pid = time.monotonic() - slot.started, 0
        if self.ends_at is not None or self.retired:
            return
        if code == 0:
            logger.info("worker %d has ended", slot.number)
            return
        if not self.was_ready:
            logger.error("worker %d did not start (%s); nothing is served", slot.number, _describe(code))
            self.exit_code = FAILED
            self.stop()
            return
        wait = slot.restarts.wait_after(lived)
        logger.error("worker %d died (%s) after %.1f s; its next start is in %.1f s",
                     slot.number, _describe(code), lived, wait)  # fmt: skip
        self.tell_all({"do": "forget", "worker": slot.number})
        slot.due = time.monotonic() + wait

    # all of them

    def tell_all(self, message: dict[str, Any], sockets: list[socket.socket] | None = None) -> None:
        """Send a message to every worker."""
        for slot in self.slots:
            slot.tell(message, sockets)

    def stop(self) -> None:
        """End gracefully; asked again, but not in the same breath: at once."""
        now = time.monotonic()
        if self.ends_at is not None:
            if now > self.ends_at - self.grace - KILL_AFTER + BREATH:
                self.ends_at = now
            return
        self.stops_at = None
        self.ends_at = now + self.grace + KILL_AFTER
        notify_systemd("STOPPING=1")
        for slot in self.slots:
            slot.due = None
        self.tell_all({"do": "stop", "grace": self.grace})

    def retire(self) -> None:
        """A successor serves: take nothing new, end with what was begun."""
        self.retired = True
        for slot in self.slots:
            slot.due = None
        self.tell_all({"do": "retire"})

    def _kill(self) -> None:
        for slot in self.slots:
            if slot.pid:
                logger.error("worker %d did not end in time", slot.number)
                os.kill(slot.pid, signal.SIGKILL)
        self.ends_at = time.monotonic() + KILL_AFTER

    def _drain_signals(self) -> None:
        try:
            numbers = self._woken.recv(64)
        except BlockingIOError:
            return
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                self.stop()
            elif number == signal.SIGHUP:
                notify_systemd("RELOADING=1")
                self.tell_all({"do": "reload"})
                notify_systemd("READY=1")
            elif number == signal.SIGUSR1:
                self._reporting = {slot.number for slot in self.slots if slot.is_ready and slot.pid}
                self.tell_all({"do": "report"})
            elif number == signal.SIGCHLD:
                self._reap()


def _heed_not(number: int, frame: object) -> None:
    """The supervisor reads its signals from a descriptor; a worker is told by it, whoever signals the whole group."""


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
