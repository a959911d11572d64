"""Where the servers of one service are now: names to addresses, kept while DNS says so (SPEC D1 to D9).

Joins `policy.locate` to a resolver and a clock.  One address is used and kept as
long as the answer still contains it (SPEC D8); the draw among SRV records is made
once an answer.  Opens nothing and sends nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol

from sipcore.env import Env
from sipcore.errors import LocateError
from sipcore.policy.candidates import Candidates
from sipcore.policy.failover import Place, choose_one, place_of
from sipcore.policy.locate import DrawOncePerAnswer, Located, Site, Target, locate
from sipcore.policy.questions import Answer, Failure
from sipcore.resolver import STALE_SECONDS, drive

MAXIMUM_SITES = 64


@dataclass(frozen=True, slots=True)
class Found:
    """Where a site is: the one `target` to use, all that was `located`, and what DNS was `asked` on the way."""

    target: Target
    located: Located
    asked: tuple[Answer | Failure, ...]
    valid_until: float


class Locator(Protocol):
    """Finds the server of a connection, each time that one is to be opened (SPEC C6)."""

    async def find(self) -> Found:
        """Where to connect to.  LocateError: nowhere."""
        ...

    def failed(self, target: Target) -> None:
        """There was no connection to be had to `target`."""
        ...

    def connected(self, target: Target) -> None:
        """There is a connection to `target`."""
        ...

    def look_for(self, site: Site) -> None:
        """Find this from now on: the same servers by other addresses (SPEC A1)."""
        ...


class Finder:
    """Finds sites for one service and remembers them for the time that DNS gave.

    `serve_stale` bounds how long past its TTL an answer may serve while DNS is down (X_DnsServeStale, SPEC D6).
    """

    def __init__(self, env: Env, *, serve_stale: float = STALE_SECONDS) -> None:
        self._env = env
        self._serve_stale = serve_stale
        self._draw = DrawOncePerAnswer(env.random)
        self._found: OrderedDict[Site, Found] = OrderedDict()

    def now(self) -> float:
        """Monotonic seconds of its world."""
        return self._env.now()

    def known(self, site: Site) -> Found | None:
        """What is remembered of `site` and still holds; no question is asked."""
        found = self._found.get(site)
        return found if found is not None and found.valid_until > self._env.now() else None

    def last(self, site: Site) -> Found | None:
        """Where `site` was last found, whether that still holds or not."""
        return self._found.get(site)

    async def find(self, site: Site) -> Found:
        """Locate `site`, asking DNS where the resolver's cache does not know.  LocateError: registration code 901."""
        located, asked = await drive(locate(site, self._draw), self._env.resolver, serve_stale=self._serve_stale)
        if not located.targets:
            raise LocateError(site.host, why="no usable address", rule=located.rule)
        before = self._found.pop(site, None)
        target = choose_one(located.targets, before.target if before is not None else None)
        found = Found(target, located, asked, self._env.now() + located.ttl)
        self._found[site] = found
        if len(self._found) > MAXIMUM_SITES:
            self._found.popitem(last=False)
        return found

    def addresses(self, site: Site) -> frozenset[str]:
        """Every address that `site` was last seen at, those past their time included."""
        found = self._found.get(site)
        return frozenset() if found is None else frozenset(target.address for target in found.located.targets)

    def forget(self) -> None:
        """Ask anew for everything: the local address, and with it the kind of addresses wanted, may have changed."""
        self._found.clear()


class SiteLocator:
    """The one address of `site` (SPEC D8)."""

    def __init__(self, finder: Finder, site: Site) -> None:
        self._finder = finder
        self._site = site

    async def find(self) -> Found:
        return await self._finder.find(self._site)

    def failed(self, target: Target) -> None:
        """It is the only one: it is tried again."""

    def connected(self, target: Target) -> None:
        """As it should be."""

    def look_for(self, site: Site) -> None:
        self._site = site


class CandidateLocator:
    """The candidates of redundancy in turn: each that is not passed over once, before one is tried again (SPEC B12)."""

    def __init__(self, finder: Finder, site: Site, candidates: Candidates) -> None:
        self._finder = finder
        self._site = site
        self._candidates = candidates
        self._tried: list[Place] = []

    async def find(self) -> Found:
        found = await self._finder.find(self._site)
        self.renew(found)
        target = self._choose()
        if target is None:
            raise LocateError(self._site.host, why="no server is left for a secondary registration", rule="SPEC B13")
        return replace(found, target=target)

    def renew(self, found: Found) -> None:
        """DNS was asked."""
        self._candidates.renew(found.located.targets)

    def failed(self, target: Target) -> None:
        """Pass it over for a while (SPEC D8)."""
        self._tried.append(place_of(target))
        self._candidates.mark_dead(target, self._finder.now(), None)

    def connected(self, target: Target) -> None:
        """The next loss starts a new turn."""
        self._tried.clear()

    def look_for(self, site: Site) -> None:
        self._site = site
        self._tried.clear()
        self._candidates.forget()

    def _choose(self) -> Target | None:
        now = self._finder.now()
        for target in self._candidates.alive(now):
            if place_of(target) not in self._tried:
                return target
        self._tried.clear()
        return self._candidates.first(now)
