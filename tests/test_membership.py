"""Waiting with a limit, and the news of many told each once."""

from __future__ import annotations

import asyncio

import pytest

from sipcore.membership import Listener, within


def test_a_listener_gives_each_change_once_until_it_is_taken():
    async def main() -> None:
        listener: Listener[str] = Listener(asyncio.get_running_loop())
        for name in ("a", "b", "a"):
            listener.tell(name)
        assert [await listener.next(), await listener.next()] == ["a", "b"]
        waiting = asyncio.create_task(listener.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        listener.tell("c")
        assert await waiting == "c"

    asyncio.run(main())


def test_a_limit_says_why():
    async def main() -> None:
        with pytest.raises(TimeoutError, match="still registering"):
            await within(0.01, asyncio.sleep(5), lambda: "still registering")
        await within(None, asyncio.sleep(0), lambda: "never")

    asyncio.run(main())
