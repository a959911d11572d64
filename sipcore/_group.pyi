"""Workers that share listening addresses: whose a message is, and the letters that take it there.

A datagram may come to any socket of a shared address.  Responses belong to the
worker that made the branch of their top Via, requests inside dialogs to the one
that made the To tag; the rest stays where it came in, or falls to the worker of
its Call-ID.
"""

from collections.abc import Callable, Sequence
from typing import final

from sipcore._message import Request

@final
class StandIn:
    """The writer of a flow that stands for a connection which another worker holds."""

    def write(self, octets: bytes) -> bool: ...
    def write_messages(self, messages: list[bytes]) -> bool: ...
    def close(self) -> None: ...

@final
class Group:
    """One engine's place among the workers; made by the engine."""

    def join(self, worker: int, secret: bytes, post: Callable[[int, bytes], bool]) -> None:
        """Become `worker` (0 to 255) of the group that shares `secret` (8 octets).

        Names made from now on hold the number.  `post(worker, letter)` sends a
        letter, to be given to `Engine.receive_letters` there; False: not taken.
        """
    def know(
        self,
        workers: Sequence[int],
        *,
        predecessors: Sequence[int] = (),
        asked_first: bool = False,
        by_call: bool = False,
    ) -> None:
        """Who shares the addresses, this worker included; together at most 27.

        `predecessors` read the same sockets before and end what they have begun;
        `asked_first`: a request that names nobody and is not known here is shown
        to them first.  `by_call`: what names nobody falls to the worker of its
        Call-ID, instead of staying here.
        """
    def forget(self, worker: int) -> list[int]:
        """The flows that stand for connections of a worker that is gone; they are to be removed."""
    @property
    def worker(self) -> int | None:
        """This worker's number; None before `join`."""
    def worker_of(self, digits: bytes, /) -> int | None:
        """The worker that made a branch, tag or Call-ID; None when none of this group did."""
    def hand_over(self, request: Request, worker: int) -> bool:
        """Give a request that came in here to `worker`, which then answers it.

        Its transaction here is forgotten: retransmissions come up again, and are
        to go the same way.  False, and nothing is changed, when it is not taken.
        """
    def lend(self, flow: int, worker: int) -> tuple[str, str, int, str, int]:
        """Let `worker` use the connection `flow`: it is told of its end.  Returns what `borrow` needs."""
    def borrow(self, worker: int, flow: int, info: tuple[str, str, int, str, int]) -> int:
        """A flow of our own that stands for `flow` of `worker`, which it has lent with `info`."""
    @property
    def handed_over(self) -> int: ...
    @property
    def taken_over(self) -> int: ...
    @property
    def refused(self) -> int:
        """Messages of other workers that these did not take and that were handled here."""
