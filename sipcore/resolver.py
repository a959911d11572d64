"""DNS for policy: questions in, answers out, on the running loop and never blocking it (SPEC D6, D7).

A cache by TTL, one query in flight for a question, several name servers, 2 s a
try and 8 s in all, then a remembered answer.  `drive` runs a policy generator
against this resolver or any other with the same `query`.  What the records are
used for is not known here; octets are the business of `sipcore.dns_exchange`.
"""

from __future__ import annotations

import asyncio
import os
import random as random_module
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from sipcore.errors import LocateError
from sipcore.policy.questions import Answer, Failure, LookupFailed, Question

if TYPE_CHECKING:
    from sipcore.dns_exchange import Reply
    from sipcore.policy.locate import Asked, Told

TRY_SECONDS = 2.0
LOOKUP_SECONDS = 8.0
STALE_SECONDS = 3600.0
STALE_TTL = 5.0
SHORTEST_TTL, LONGEST_TTL = 1.0, 86400.0
LONGEST_NEGATIVE_TTL = 300.0
MAXIMUM_CACHED = 2048
MAXIMUM_IN_FLIGHT = 512
MAXIMUM_CONTINUATIONS = 8
DNS_PORT = 53

Result = TypeVar("Result")
NameServer = tuple[str, int]
Exchange = Callable[..., Awaitable["Reply"]]


class Resolver(Protocol):
    """What answers questions: `DnsResolver`, or the simulator's script."""

    async def query(self, question: Question) -> Answer:
        """The answer, empty for "not found"; raises LookupFailed when there is none to be had."""


@runtime_checkable
class RememberingResolver(Protocol):
    """A resolver that can also give what it remembers, when the time for a whole lookup is up."""

    def remembered(self, question: Question) -> Answer | None: ...


async def drive(
    generator: Generator[Asked, Told, Result],
    resolver: Resolver,
    *,
    limit: float = LOOKUP_SECONDS,
    serve_stale: float = STALE_SECONDS,
) -> tuple[Result, tuple[Answer | Failure, ...]]:
    """Run a policy generator to its end, within `limit` seconds of waiting in all (SPEC D6).

    An answer more than `serve_stale` seconds past its TTL counts as none.  Returns
    the generator's result and everything that was asked, in order.  A LocateError that
    the generator raises carries the same in its `asked`.
    """
    asked: list[Answer | Failure] = []
    deadline = asyncio.get_running_loop().time() + limit
    try:
        wanted = next(generator)
        while True:
            told = tuple(_check_age(one, serve_stale) for one in await _ask_all(resolver, wanted, deadline))
            asked.extend(told)
            wanted = _advance(generator, wanted, told)
    except StopIteration as end:
        return end.value, tuple(asked)
    except LocateError as error:
        error.asked = tuple(asked)
        raise


def _advance(generator: Generator[Asked, Told, Result], wanted: Asked, told: tuple[Answer | Failure, ...]) -> Asked:
    """Send the generator what was told: one failure is thrown in, of several each stands in its place."""
    if not isinstance(wanted, Question):
        return generator.send(told)
    answer = told[0]
    if isinstance(answer, Failure):
        return generator.throw(LookupFailed(answer.question, why=answer.why))
    return generator.send(answer)


def _check_age(told: Answer | Failure, serve_stale: float) -> Answer | Failure:
    if isinstance(told, Answer) and told.stale_for > serve_stale:
        return Failure(told.question, f"only an answer {told.stale_for:.0f}s past its TTL is remembered")
    return told


async def _ask_all(resolver: Resolver, wanted: Asked, deadline: float) -> tuple[Answer | Failure, ...]:
    if isinstance(wanted, Question):
        return (await _ask(resolver, wanted, deadline),)
    return tuple(await asyncio.gather(*(_ask(resolver, question, deadline) for question in wanted)))


async def _ask(resolver: Resolver, question: Question, deadline: float) -> Answer | Failure:
    try:
        async with asyncio.timeout_at(deadline):
            return await resolver.query(question)
    except LookupFailed as failed:
        return Failure(question, failed.why)
    except TimeoutError:
        if isinstance(resolver, RememberingResolver) and (answer := resolver.remembered(question)) is not None:
            return answer
        return Failure(question, "the time for the whole lookup was up")


@dataclass(slots=True)
class _Cached:
    """An answer as it was received, and when (seconds of the resolver's clock)."""

    answer: Answer
    received_at: float


class DnsResolver:
    """Asks real name servers.

    `name_servers` are (address, port); empty means those of the host's resolver
    configuration, read anew when it changes.  `clock` gives monotonic seconds,
    the loop's by default.  `random` makes query ids: give one that cannot be
    guessed (SystemRandom, the default).  `serve_stale` bounds in seconds how long
    past its TTL an answer may still be used when DNS fails.  `exchange` asks one
    server once; the default is `sipcore.dns_exchange.exchange`.
    """

    def __init__(
        self,
        name_servers: Sequence[NameServer] = (),
        clock: Callable[[], float] | None = None,
        random: random_module.Random | None = None,
        *,
        serve_stale: float = STALE_SECONDS,
        exchange: Exchange | None = None,
        host_configuration: str | os.PathLike[str] = "/etc/resolv.conf",
    ) -> None:
        self._configured = tuple(name_servers)
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._random = random or random_module.SystemRandom()
        self._serve_stale = serve_stale
        self._exchange = exchange
        self._host = HostConfiguration(host_configuration)
        self._cache: OrderedDict[Question, _Cached] = OrderedDict()
        self._in_flight: dict[Question, asyncio.Task[Answer | Failure]] = {}
        self._preferred: NameServer | None = None
        self._serial = 0
        self.queries_sent = 0

    async def query(self, question: Question) -> Answer:
        """Answer from the cache or from DNS; raises LookupFailed within 8 s (SPEC D6)."""
        cached = self._fresh(question)
        if cached is not None:
            return cached
        told = await asyncio.shield(self._look_up_once(question))
        if isinstance(told, Answer):
            return told
        raise LookupFailed(question, why=told.why)

    def remembered(self, question: Question) -> Answer | None:
        """What the cache holds, fresh or past its TTL by at most `serve_stale`; a negative answer only fresh."""
        cached = self._cache.get(question)
        if cached is None:
            return None
        age = self._clock() - cached.received_at
        if age <= cached.answer.ttl:
            return self._aged(cached, age)
        if age > cached.answer.ttl + self._serve_stale or not cached.answer.records:
            return None
        return replace(cached.answer, ttl=STALE_TTL, age=age, stale=True, stale_for=age - cached.answer.ttl)

    def flush(self) -> None:
        """Forget every cached answer."""
        self._cache.clear()

    async def close(self) -> None:
        """End the lookups that are under way; their callers see them cancelled."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fresh(self, question: Question) -> Answer | None:
        cached = self._cache.get(question)
        if cached is None:
            return None
        age = self._clock() - cached.received_at
        return self._aged(cached, age) if age < cached.answer.ttl else None

    @staticmethod
    def _aged(cached: _Cached, age: float) -> Answer:
        return replace(cached.answer, ttl=cached.answer.ttl - age, age=age)

    def _look_up_once(self, question: Question) -> asyncio.Future[Answer | Failure]:
        """The lookup of `question` that is under way, else a new one (SPEC D7)."""
        running = self._in_flight.get(question)
        if running is not None:
            return running
        if len(self._in_flight) >= MAXIMUM_IN_FLIGHT:
            refused: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
            refused.set_result(Failure(question, f"more than {MAXIMUM_IN_FLIGHT} lookups under way"))
            return refused
        task = asyncio.get_running_loop().create_task(self._look_up(question))
        self._in_flight[question] = task
        task.add_done_callback(lambda _: self._in_flight.pop(question, None))
        return task

    async def _look_up(self, question: Question) -> Answer | Failure:
        told = await self._ask_servers(question)
        if isinstance(told, Answer):
            self._remember(told)
            return told
        return self.remembered(question) or told

    async def _ask_servers(self, question: Question) -> Answer | Failure:
        """One server after the other, the silent ones again, until one answers or 8 s are over."""
        deadline = self._clock() + LOOKUP_SECONDS
        servers = self._servers()
        troubles: dict[NameServer, str] = {}
        while servers and (left := deadline - self._clock()) > 0.01:
            server = servers.pop(0)
            told = await self._follow(question, server, min(TRY_SECONDS, left))
            if isinstance(told, Answer):
                self._preferred = server
                return told
            troubles[server] = told.why
            if told.timed_out:
                servers.append(server)
        said = "; ".join(f"{_shown(server)}: {why}" for server, why in troubles.items())
        return Failure(question, said or "no name server is configured")

    async def _follow(self, question: Question, server: NameServer, timeout: float) -> Answer | _Trouble:
        """Ask one server, and again for the end of a CNAME chain that it left open; all within `timeout`."""
        deadline = self._clock() + timeout
        asked, ttl = question, LONGEST_TTL
        for _ in range(MAXIMUM_CONTINUATIONS):
            reply = await self._ask_server(asked, server, deadline - self._clock())
            if isinstance(reply, _Trouble):
                return reply
            ttl = min(ttl, reply.ttl)
            if not reply.continued:
                end = reply.canonical or (asked.name if asked is not question else "")
                return self._make_answer(question, replace(reply, canonical=end), ttl, server)
            asked = Question(reply.continued, question.type)
        return _Trouble(f"a chain of more than {MAXIMUM_CONTINUATIONS} CNAMEs", timed_out=False)

    async def _ask_server(self, question: Question, server: NameServer, timeout: float) -> Reply | _Trouble:
        from sipcore.dns_exchange import ExchangeFailed, exchange  # noqa: PLC0415  (the DNS library takes 100 ms to load)

        self.queries_sent += 1
        try:
            return await (self._exchange or exchange)(question, server, timeout=timeout, source=self._random)
        except ExchangeFailed as failed:
            return _Trouble(failed.why, timed_out=failed.timed_out)

    def _make_answer(self, question: Question, reply: Reply, ttl: float, server: NameServer) -> Answer:
        longest = LONGEST_TTL if reply.records else LONGEST_NEGATIVE_TTL
        self._serial += 1
        return Answer(
            question,
            reply.records,
            ttl=min(max(ttl, SHORTEST_TTL), longest),
            server=_shown(server),
            additional=reply.additional,
            serial=self._serial,
            canonical=reply.canonical if reply.records else "",
        )

    def _remember(self, answer: Answer) -> None:
        self._cache.pop(answer.question, None)
        self._cache[answer.question] = _Cached(answer, self._clock())
        if len(self._cache) > MAXIMUM_CACHED:
            self._cache.popitem(last=False)

    def _servers(self) -> list[NameServer]:
        """The servers to ask, the one that answered last time first."""
        servers = list(self._configured or self._host.name_servers())
        if self._preferred in servers:
            servers.remove(self._preferred)
            servers.insert(0, self._preferred)
        return servers


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why one server gave no answer."""

    why: str
    timed_out: bool


class HostConfiguration:
    """The `nameserver` lines of resolv.conf, read again when the file changes; no file means no servers."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._servers: tuple[NameServer, ...] = ()

    def name_servers(self) -> tuple[NameServer, ...]:
        with suppress(OSError, UnicodeDecodeError):
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._servers = _read_name_servers(self._text())
                self._stamp = stamp
        return self._servers

    def _text(self) -> str:
        with open(self._path) as file:
            return file.read()


def _read_name_servers(text: str) -> tuple[NameServer, ...]:
    words = (line.split() for line in text.splitlines())
    return tuple((line[1], DNS_PORT) for line in words if len(line) > 1 and line[0] == "nameserver")[:3]


def _shown(server: NameServer) -> str:
    address, port = server
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
