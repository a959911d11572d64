"""Where the servers of one service are now: names to addresses, kept while DNS says so (SPEC D1 to D9).

Joins `policy.locate` to a resolver and a clock.  One address is used and kept as
long as the answer still contains it (SPEC D8); the draw among SRV records is made
once an answer.  Opens nothing and sends nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sipcore.env import Env
from sipcore.errors import LocateError
from sipcore.policy.failover import choose_one
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


class Finder:
    """Finds sites for one service and remembers them for the time that DNS gave.

    `serve_stale` bounds how long past its TTL an answer may serve while DNS is down (X_DnsServeStale, SPEC D6).
    """

    def __init__(self, env: Env, *, serve_stale: float = STALE_SECONDS) -> None:
        self._env = env
        self._serve_stale = serve_stale
        self._draw = DrawOncePerAnswer(env.random)
        self._found: OrderedDict[Site, Found] = OrderedDict()

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
