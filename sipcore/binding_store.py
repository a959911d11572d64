"""Bindings on disk: what a registrar has acknowledged is there after a crash (FAULTS 44, 50, 54).

One SQLite file in WAL mode, written by a thread of its own; writes that wait share
one transaction and one fsync.  A writer hears of success only after the commit.
Knows no messages; times on disk are wall-clock, times given and taken monotonic.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sipcore.env import Env
from sipcore.errors import UsageError
from sipcore.location import Binding

logger = logging.getLogger("sipcore.registrar")

MOST_TOGETHER = 512  # writes that share a transaction
SCHEMA = """
CREATE TABLE IF NOT EXISTS bindings (
    address_of_record TEXT NOT NULL, key TEXT NOT NULL, contact TEXT NOT NULL, expires_at REAL NOT NULL,
    call_id TEXT NOT NULL, sequence INTEGER NOT NULL, q REAL NOT NULL, path TEXT NOT NULL,
    instance TEXT NOT NULL, reg_id INTEGER NOT NULL, PRIMARY KEY (address_of_record, key)
) WITHOUT ROWID
"""
INSERT = "INSERT INTO bindings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

Bindings = tuple[Binding, ...]
Done = Callable[[bool, "Bindings | None"], None]


@dataclass(frozen=True, slots=True)
class _Write:
    address_of_record: str
    bindings: Bindings
    shift: float  # from monotonic to wall-clock seconds
    done: Done


def _opened(path: str | Path) -> sqlite3.Connection:
    """The database in `path`, its tables made where they are missing; it is closed again when it is none."""
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


class BindingStore:
    """The bindings of one registrar in the file `path`, made where it is missing.

    UsageError when it cannot be opened or is no such file.  `failures` counts
    writes that were lost.
    """

    def __init__(self, path: str | Path, env: Env) -> None:
        self.failures = 0
        self._env = env
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._waiting: dict[str, int] = {}
        self._durable: dict[str, Bindings] = {}
        self._broken: set[str] = set()
        try:
            self._database = _opened(path)
        except sqlite3.Error as error:
            raise UsageError(f"cannot keep bindings in {path}: {error}") from None
        self._thread = threading.Thread(target=self._write, name="binding store", daemon=True)
        self._thread.start()

    def load(self) -> dict[str, dict[str, Binding]]:
        """What was kept and still lives; bindings that led over a connection are not kept, it died with the process."""
        shift = self._shift()
        found: dict[str, dict[str, Binding]] = {}
        rows = self._database.execute("SELECT * FROM bindings WHERE expires_at > ?", (self._env.wall_time(),))
        for aor, key, contact, expires_at, call_id, sequence, q, path, instance, reg_id in rows:
            found.setdefault(aor, {})[key] = Binding(
                key, contact, expires_at - shift, call_id, sequence, q, tuple(json.loads(path)), instance, reg_id
            )
        return found

    def put(self, address_of_record: str, before: Iterable[Binding], bindings: Iterable[Binding], done: Done) -> None:
        """Keep these `bindings` in place of those `before`.

        `done(True, …)` follows once they are on disk, `done(False, …)` if they never will be; with bindings where
        these are to be taken back into memory, because a write to this address of record failed.
        """
        if address_of_record not in self._durable:
            self._durable[address_of_record] = tuple(before)
        self._waiting[address_of_record] = self._waiting.get(address_of_record, 0) + 1
        self._queue.put(_Write(address_of_record, tuple(bindings), self._shift(), done))

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._database.close()

    def _shift(self) -> float:
        return self._env.wall_time() - self._env.now()

    # in the thread

    def _write(self) -> None:
        ended = False
        while not ended:
            writes = self._take()
            ended = writes[-1] is None
            batch = [write for write in writes if write is not None]
            if batch:
                self._tell(batch, well=self._commit(batch))

    def _take(self) -> list[_Write | None]:
        """All that waits, at least one, up to the end."""
        taken = [self._queue.get()]
        while taken[-1] is not None and len(taken) < MOST_TOGETHER:
            try:
                taken.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return taken

    def _commit(self, batch: list[_Write]) -> bool:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for write in batch:
                self._replace(write)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            logger.error("%d registrations could not be kept: %s", len(batch), error)
            try:
                self._database.execute("ROLLBACK")
            except sqlite3.Error:
                logger.debug("there was nothing to roll back")
            return False
        return True

    def _replace(self, write: _Write) -> None:
        self._database.execute("DELETE FROM bindings WHERE address_of_record = ?", (write.address_of_record,))
        rows = [_row(write, binding) for binding in write.bindings if not binding.flow]
        self._database.executemany(INSERT, rows)

    def _tell(self, batch: list[_Write], *, well: bool) -> None:
        try:
            self._env.loop.call_soon_threadsafe(self._settle, batch, well)
        except RuntimeError:
            logger.debug("the loop is closed; nobody waits for an answer")

    # in the loop

    def _settle(self, batch: list[_Write], well: bool) -> None:
        for write in batch:
            name = write.address_of_record
            if well:
                self._durable[name] = write.bindings
            else:
                self.failures += 1
                self._broken.add(name)
            write.done(well, self._durable[name] if name in self._broken else None)
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name], self._durable[name]
                self._broken.discard(name)


def _row(write: _Write, binding: Binding) -> tuple[object, ...]:
    return (
        write.address_of_record,
        binding.key,
        binding.contact,
        binding.expires_at + write.shift,
        binding.call_id,
        binding.sequence,
        binding.q,
        json.dumps(binding.path),
        binding.instance,
        binding.reg_id,
    )
