"""One worker's place in a program of several processes: its number, its mail, the sockets that it shares.

`serving.serve` starts the processes and gives each its `Place`; a `Stack` made
with it reads shared addresses and hands messages of other workers to them.  What
belongs to whom is the engine's business (`_group`), who starts whom `serving`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket as socket_module
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sipcore.env import Driver
from sipcore.errors import SipError, TransportError, UsageError
from sipcore.handover import receive_message, send_message
from sipcore.policy.workers import worker_for

if TYPE_CHECKING:
    from sipcore._message import Request

logger = logging.getLogger("sipcore.workers")

MAILS_OF_A_WAKE = 16
MAIL_MAX = 131_072  # octets of letters that travel together
LETTERS_KEPT = 4_096  # that wait for one worker
CONTROL_TIMEOUT = 10.0  # seconds; the supervisor does nothing that takes long
ANSWER_TIMEOUT = 2.0  # seconds
ORPHAN_GRACE = 1.0  # seconds; without a supervisor the ports are wanted by the next one
QUESTION, ANSWER, FAILURE = b"Q", b"A", b"F"
_WORD = struct.Struct("!cBIB")  # kind, who writes, number of the question, size of the topic
_SIZE = struct.Struct("=I")  # before each letter

Answerer = Callable[[bytes, int], bytes]


@dataclass
class Place:
    """What a worker process is given: who it is, who the others are, and the sockets that lead to them."""

    number: int
    workers: tuple[int, ...]
    secret: bytes  # 16 octets that the workers share
    control: socket_module.socket  # to the supervisor
    mailbox: socket_module.socket  # what others send here
    boxes: dict[int, socket_module.socket]  # by worker: where to send
    predecessors: tuple[int, ...] = ()
    by_call: bool = False
    asked_first: bool = False  # the predecessors, about what names nobody
    held: bool = False  # read nothing until the supervisor says so


_place: Place | None = None


def take_place(place: Place) -> None:
    """Say who this process is; done once, by the process that `serving` started."""
    global _place
    _place = place


def place_of(count: int) -> Place:
    """This process's place among `count` workers; UsageError when it is none."""
    if _place is None:
        raise UsageError(
            f"Stack(workers={count}) belongs in a worker: "
            f"start the program with sipcore.serve(application, workers={count})"
        )
    if len(_place.workers) != count:
        raise UsageError(f"this program has {len(_place.workers)} workers, not {count}")
    return _place


def refuse_among_workers(what: str) -> None:
    """UsageError in a process that is one of several workers, for what must be there once."""
    if _place is not None and len(_place.workers) > 1:
        raise UsageError(f"{what} runs in one process, and this is one of {len(_place.workers)} workers")


class Workers:
    """The workers of this program, seen from one of them."""

    def __init__(self, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        self.number = place.number
        self.workers = place.workers
        self.retiring: asyncio.Future[None] = loop.create_future()
        self.stopping: asyncio.Future[float] = loop.create_future()
        self.report: Callable[[], Mapping[str, Any]] = lambda: {}
        self.lost_letters = 0
        self.begun = asyncio.Event()
        self.on_begin: Callable[[], None] = lambda: None
        self._place = place
        self._loop = loop
        self._driver: Driver | None = None
        self._answerers: dict[str, Answerer] = {}
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._questions = 0
        self._on_reload: list[Callable[[], Awaitable[None] | None]] = []
        self._reloading: set[asyncio.Future[None]] = set()
        self._later: list[tuple[dict[str, Any], list[socket_module.socket]]] = []
        self._buffer = memoryview(bytearray(MAIL_MAX))
        self._waiting: dict[int, list[bytes]] = {worker: [] for worker in place.boxes}
        self._blocked: set[int] = set()

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self.workers)

    @property
    def is_held(self) -> bool:
        """Whether listeners wait for the word to begin."""
        return self._place.held

    @property
    def is_first(self) -> bool:
        """Whether this is the worker to do what only one may do."""
        return self.number == self.workers[0]

    def key(self, purpose: str) -> bytes:
        """16 octets for one purpose, the same in all workers and known to nobody else."""
        return hashlib.blake2b(purpose.encode(), digest_size=16, key=self._place.secret).digest()

    # who owns what

    def owner(self, key: str) -> int:
        """The worker that keeps what is known under `key`, the same in all workers."""
        return worker_for(key, self.workers, self._place.secret)

    def owns(self, key: str) -> bool:
        """Whether this worker keeps what is known under `key`."""
        return self.owner(key) == self.number

    def hand_over(self, request: Request, worker: int) -> bool:
        """Give a request that came in here to another worker, which answers it; False when it cannot be given."""
        return bool(self._engine.workers.hand_over(request, worker))

    def lend(self, flow: int, worker: int) -> list[str | int]:
        """Let another worker send on a connection that this one holds; what `borrow` needs there."""
        return list(self._engine.workers.lend(flow, worker))

    def borrow(self, worker: int, flow: int, info: Sequence[Any]) -> int:
        """A flow of this worker's that leads through `flow` of `worker`, which it has lent with `info`."""
        return int(self._engine.workers.borrow(worker, flow, tuple(info)))

    # questions

    def answer(self, topic: str, answerer: Answerer) -> None:
        """Let `answerer(question, worker)` answer what `worker` asks about `topic`; it is called in the event loop."""
        if len(topic.encode()) > 255:
            raise UsageError("a topic has at most 255 octets")
        self._answerers[topic] = answerer

    async def ask(self, worker: int, topic: str, question: bytes = b"") -> bytes:
        """What `worker` answers; TransportError when it does not, within two seconds."""
        if worker == self.number:
            return self._answered(topic, question, worker)
        self._questions = number = (self._questions + 1) & 0xFFFFFFFF
        asked = self._asked[number] = self._loop.create_future()
        try:
            if not self._post(worker, self._word(QUESTION, number, topic) + question):
                raise TransportError(f"worker {worker} takes no question")
            self._send_mail()
            return await asyncio.wait_for(asked, ANSWER_TIMEOUT)
        except TimeoutError as error:
            raise TransportError(f"worker {worker} does not answer") from error
        finally:
            del self._asked[number]

    async def ask_all(self, topic: str, question: bytes = b"") -> dict[int, bytes]:
        """The answers of all workers, this one included, by number; without those that gave none."""
        answers = await asyncio.gather(
            *(self.ask(worker, topic, question) for worker in self.workers), return_exceptions=True
        )
        return {
            worker: one for worker, one in zip(self.workers, answers, strict=True) if not isinstance(one, BaseException)
        }

    def _word(self, kind: bytes, number: int, topic: str = "") -> bytes:
        octets = topic.encode()
        return _WORD.pack(kind, self.number, number, len(octets)) + octets

    def _answered(self, topic: str, question: bytes, worker: int) -> bytes:
        answerer = self._answerers.get(topic)
        if answerer is None:
            raise TransportError(f"nobody answers about {topic!r}")
        return answerer(question, worker)

    def _take_word(self, letter: bytes) -> None:
        kind, writer, number, size = _WORD.unpack_from(letter)
        topic, rest = letter[_WORD.size : _WORD.size + size].decode(), letter[_WORD.size + size :]
        if kind == QUESTION:
            try:
                answer = self._word(ANSWER, number) + self._answered(topic, rest, writer)
            except Exception as error:
                logger.exception("a question about %s has no answer", topic)
                answer = self._word(FAILURE, number) + str(error).encode()
            self._post(writer, answer)
            return
        asked = self._asked.get(number)
        if asked is None or asked.done():
            return
        if kind == ANSWER:
            asked.set_result(rest)
        else:
            asked.set_exception(TransportError(f"worker {writer}: {rest.decode()}"))

    # the mail

    def attach(self, driver: Driver) -> None:
        """Let a stack's engine be this worker's: it names itself in what it makes and reads what others send."""
        if self._driver is not None:
            raise UsageError("a worker has one stack")
        self._driver = driver
        place = self._place
        driver.after_flush.append(self._send_mail)
        driver.engine.workers.join(place.number, self.key("names")[:8], self._post)
        self._know(place.workers, place.predecessors, asked_first=place.asked_first)
        place.mailbox.setblocking(False)
        self._loop.add_reader(place.mailbox.fileno(), self._read_mail)
        self._loop.add_reader(place.control.fileno(), self._read_control)

    def detach(self) -> None:
        """Read and send no more; what still comes is of no use."""
        for worker in tuple(self._blocked):
            self._loop.remove_writer(self._place.boxes[worker].fileno())
        self._waiting.clear()
        for one in (self._place.mailbox, self._place.control):
            self._loop.remove_reader(one.fileno())

    @property
    def _engine(self) -> Any:
        if self._driver is None:
            raise UsageError("this worker has no stack yet")
        return self._driver.engine

    def _know(self, workers: Sequence[int], predecessors: Sequence[int], *, asked_first: bool) -> None:
        self._engine.workers.know(
            workers, predecessors=predecessors, asked_first=asked_first, by_call=self._place.by_call
        )

    def _post(self, worker: int, letter: bytes) -> bool:
        """Put a letter with those that leave at the end of the batch; False when too many wait, or nobody is there."""
        waiting = self._waiting.get(worker)
        if waiting is None:
            return False
        if len(waiting) >= LETTERS_KEPT or len(letter) > MAIL_MAX - _SIZE.size:
            self.lost_letters += 1
            return False
        waiting.append(letter)
        return True

    def _send_mail(self) -> None:
        """Send what waits: letters to one worker travel together, so that it wakes up once for all of them."""
        for worker, waiting in self._waiting.items():
            if waiting and worker not in self._blocked:
                self._send_to(worker, waiting)

    def _send_to(self, worker: int, waiting: list[bytes]) -> None:
        box = self._place.boxes[worker]
        while waiting:
            count = _count_that_fit(waiting)
            mail = b"".join([part for letter in waiting[:count] for part in (_SIZE.pack(len(letter)), letter)])
            try:
                box.send(mail, socket_module.MSG_DONTWAIT)
            except BlockingIOError:
                self._blocked.add(worker)
                self._loop.add_writer(box.fileno(), self._unblocked, worker)
                return
            except OSError as error:
                logger.warning("%d letters to worker %d are lost: %s", len(waiting), worker, error)
                self.lost_letters += len(waiting)
                waiting.clear()
                return
            del waiting[:count]

    def _unblocked(self, worker: int) -> None:
        self._loop.remove_writer(self._place.boxes[worker].fileno())
        self._blocked.discard(worker)
        self._send_mail()

    def _read_mail(self) -> None:
        """What waits, as one batch of the engine."""
        driver = self._driver
        assert driver is not None
        letters: list[bytes] = []
        for _ in range(MAILS_OF_A_WAKE):
            try:
                size = self._place.mailbox.recv_into(self._buffer)
            except OSError:
                break
            letters += _letters_of(bytes(self._buffer[:size]))
        of_engine = [letter for letter in letters if letter[:1] not in (QUESTION, ANSWER, FAILURE)]
        if len(of_engine) < len(letters):
            for letter in letters:
                if letter[:1] in (QUESTION, ANSWER, FAILURE):
                    self._take_word(letter)
        try:
            if of_engine:
                driver.engine.receive_letters(of_engine, driver.now())
        finally:
            driver.after_batch()

    # the supervisor

    def sockets(self, kind: int, host: str, port: int) -> list[socket_module.socket]:
        """This worker's sockets of a shared address, which the supervisor keeps open.

        TransportError when it is not to be had.
        """
        message, sockets = self._call({"ask": "sockets", "kind": kind, "host": host, "port": port})
        if "error" in message:
            raise TransportError(message["error"])
        return sockets

    def say(self, message: dict[str, Any]) -> None:
        """Tell the supervisor something; nothing happens when it is gone."""
        with contextlib.suppress(OSError):
            send_message(self._place.control, message)

    def on_reload(self, callback: Callable[[], Awaitable[None] | None]) -> Callable[[], Awaitable[None] | None]:
        """Call `callback()` in each worker when the program is told to read its settings again (SIGHUP)."""
        self._on_reload.append(callback)
        return callback

    def _call(self, question: dict[str, Any]) -> tuple[dict[str, Any], list[socket_module.socket]]:
        control = self._place.control
        control.settimeout(CONTROL_TIMEOUT)
        try:
            send_message(control, question)
            while (received := receive_message(control)) is not None:
                if "answer" in received[0]:
                    return received
                if not self._later:
                    self._loop.call_soon(self._do_later)
                self._later.append(received)
        except TimeoutError as error:
            raise TransportError("the supervisor does not answer") from error
        finally:
            control.settimeout(0.0)
        raise TransportError("the supervisor is gone")

    def _do_later(self) -> None:
        waiting, self._later = self._later, []
        for message, sockets in waiting:
            self._do(message, sockets)

    def _read_control(self) -> None:
        try:
            received = receive_message(self._place.control)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is not None:
            self._do(*received)
            return
        self._loop.remove_reader(self._place.control.fileno())
        logger.warning("the supervisor is gone; this worker ends")
        self.stop(ORPHAN_GRACE)

    def _do(self, message: dict[str, Any], sockets: list[socket_module.socket]) -> None:
        """What the supervisor wants."""
        what = message.get("do")
        if what == "stop":
            self.stop(message["grace"])
        elif what == "begin":
            self.begin()
        elif what == "retire":
            self.retire()
        elif what == "know":
            self._know(message["workers"], message["predecessors"], asked_first=message["asked_first"])
        elif what == "meet":
            self._place.boxes.update(zip(message["workers"], sockets, strict=True))
            self._waiting |= {worker: [] for worker in message["workers"]}
            self.say({"say": "done"})
        elif what == "forget":
            self._forget(message["worker"])
        elif what == "reload":
            self._reload()
        elif what == "ping":
            self.say({"say": "alive"})
        elif what == "report":
            self.say_report()

    def stop(self, grace: float) -> None:
        """End this worker: what runs gets `grace` seconds to end."""
        if not self.stopping.done():
            self.stopping.set_result(grace)

    def begin(self) -> None:
        """Read what comes from now on."""
        self._place.held = False
        if not self.begun.is_set():
            self.on_begin()
            self.begun.set()
            self.say({"say": "begun"})

    def retire(self) -> None:
        """Take nothing new; end when all that this worker does has ended."""
        if not self.retiring.done():
            self.retiring.set_result(None)

    def say_report(self) -> None:
        """Tell the supervisor the counters of this worker's engine, and what the application adds."""
        report = {"counters": {**self._engine.stats(), "lost_letters": self.lost_letters}, **self.report()}
        self.say({"say": "report", "report": report})

    def _forget(self, worker: int) -> None:
        """A worker died: the connections that it held died with it."""
        driver = self._driver
        assert driver is not None
        for flow in driver.engine.workers.forget(worker):
            driver.engine.remove_connection(flow, f"worker {worker} is gone", driver.now())
        driver.after_batch()

    def _reload(self) -> None:
        for callback in self._on_reload:
            try:
                result = callback()
            except Exception:
                logger.exception("reloading failed; what was read before holds")
                continue
            if result is not None:
                task = asyncio.ensure_future(self._finish(result))
                self._reloading.add(task)
                task.add_done_callback(self._reloading.discard)

    async def _finish(self, reloading: Awaitable[None]) -> None:
        try:
            await reloading
        except (SipError, OSError, ValueError):
            logger.exception("reloading failed; what was read before holds")


def _count_that_fit(letters: list[bytes]) -> int:
    """How many of the letters travel together."""
    room = MAIL_MAX
    for count, letter in enumerate(letters):
        room -= _SIZE.size + len(letter)
        if room < 0:
            return count
    return len(letters)


def _letters_of(mail: bytes) -> list[bytes]:
    """The letters that came together."""
    letters, at = [], 0
    while at < len(mail):
        start = at + _SIZE.size
        at = start + _SIZE.unpack_from(mail, at)[0]
        letters.append(mail[start:at])
    return letters
