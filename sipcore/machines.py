"""The four transaction machines of RFC 3261 section 17 as literals, each under its figure.

RFC 6026 (the Accepted states) and RFC 4320 (non-INVITE servers that are too
late stay silent) are worked in; every deviation from a figure is a comment at
its row.  These tables are the only source: `sipcore._transactions` packs them
into a dense array when it is imported, the tests walk all (state, event) pairs
and `docs/machines/draw.py` draws the diagrams from them.

A machine maps (state, event) to (next state, actions).  An absent row means
"ignore": late and repeated messages are normal on UDP.

This room does not know messages, sockets, instants or who the TU is.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from typing import NamedTuple

T1_MS = 500  # RFC 3261 section 17.1.1.1: an estimate of the round trip
T2_MS = 4_000  # the longest interval between retransmissions of a non-INVITE request or an INVITE response
T4_MS = 5_000  # how long a message stays in the network


class State(IntEnum):
    """Where a transaction stands.  TERMINATED is never stored: the row is freed."""

    TERMINATED = 0
    INITIAL = 1
    CALLING = 2
    TRYING = 3
    PROCEEDING = 4
    ACCEPTED = 5
    ACKNOWLEDGED = 6  # the half of RFC 6026's server Accepted in which the ACK to the 2xx was seen
    COMPLETED = 7
    CONFIRMED = 8


class Event(IntEnum):
    """What can happen to a transaction: from the TU, from the far side, from the clock, from the transport."""

    TU_REQUEST = 0
    TU_1XX = 1
    TU_2XX = 2
    TU_300_699 = 3
    RECV_REQUEST = 4  # the first one and every retransmission
    RECV_ACK = 5
    RECV_1XX = 6
    RECV_2XX = 7
    RECV_300_699 = 8
    TIMER_A = 9
    TIMER_B = 10
    TIMER_D = 11
    TIMER_E = 12
    TIMER_F = 13
    TIMER_G = 14
    TIMER_H = 15
    TIMER_I = 16
    TIMER_J = 17
    TIMER_K = 18
    TIMER_L = 19
    TIMER_M = 20
    TIMER_TRYING = 21  # a 100 is due because the TU has not answered yet
    TIMER_2XX = 22  # RFC 3261 section 13.3.1.4: the 2xx is due again
    TRANSPORT_ERROR = 23


class Action(IntFlag):
    """What a transition asks for.  Sending, passing and informing are the engine's; timers belong to the table."""

    NOTHING = 0
    SEND_REQUEST = 1 << 0
    SEND_RESPONSE = 1 << 1  # the last one; nothing when there was none
    SEND_ACK = 1 << 2  # for a final response other than 2xx (RFC 3261 section 17.1.1.3)
    SEND_TRYING = 1 << 3
    PASS_TO_TU = 1 << 4
    INFORM_TIMEOUT = 1 << 5
    INFORM_TRANSPORT_ERROR = 1 << 6
    INFORM_NO_ACK = 1 << 7
    STOP_TIMERS = 1 << 8  # both the retransmission timer and the deadline
    STOP_RETRANSMISSION = 1 << 9
    START_A = 1 << 10
    START_B = 1 << 11
    START_D = 1 << 12
    START_E = 1 << 13
    START_E_AT_T2 = 1 << 14
    START_F = 1 << 15
    START_G = 1 << 16
    START_H = 1 << 17
    START_I = 1 << 18
    START_J = 1 << 19
    START_K = 1 << 20
    START_L = 1 << 21
    START_M = 1 << 22
    START_INVITE_TRYING = 1 << 23
    START_TRYING = 1 << 24
    START_2XX = 1 << 25


class Reliable(Enum):
    """What a timer does on a transport that delivers by itself (RFC 3261 table 4)."""

    SAME = "runs as on UDP"
    NEVER = "is not started"
    ZERO = "fires at once"


class Timer(NamedTuple):
    """One row of RFC 3261 table 4, in milliseconds.

    A timer with a `limit_ms` repeats: started by its own expiry it takes twice
    its last interval, at most the limit.  Without one it is a deadline and ends
    its state.
    """

    event: Event
    first_ms: int
    limit_ms: int | None
    on_reliable: Reliable


TIMERS: dict[Action, Timer] = {
    Action.START_A: Timer(Event.TIMER_A, T1_MS, 64 * T1_MS, Reliable.NEVER),
    Action.START_B: Timer(Event.TIMER_B, 64 * T1_MS, None, Reliable.SAME),
    Action.START_D: Timer(Event.TIMER_D, 64 * T1_MS, None, Reliable.ZERO),
    Action.START_E: Timer(Event.TIMER_E, T1_MS, T2_MS, Reliable.NEVER),
    Action.START_E_AT_T2: Timer(Event.TIMER_E, T2_MS, T2_MS, Reliable.NEVER),
    Action.START_F: Timer(Event.TIMER_F, 64 * T1_MS, None, Reliable.SAME),
    Action.START_G: Timer(Event.TIMER_G, T1_MS, T2_MS, Reliable.NEVER),
    Action.START_H: Timer(Event.TIMER_H, 64 * T1_MS, None, Reliable.SAME),
    Action.START_I: Timer(Event.TIMER_I, T4_MS, None, Reliable.ZERO),
    Action.START_J: Timer(Event.TIMER_J, 64 * T1_MS, None, Reliable.ZERO),
    Action.START_K: Timer(Event.TIMER_K, T4_MS, None, Reliable.ZERO),
    Action.START_L: Timer(Event.TIMER_L, 64 * T1_MS, None, Reliable.SAME),
    Action.START_M: Timer(Event.TIMER_M, 64 * T1_MS, None, Reliable.SAME),
    # RFC 3261 section 17.2.1: 100 unless the TU answers within 200 ms.
    Action.START_INVITE_TRYING: Timer(Event.TIMER_TRYING, 200, 200, Reliable.SAME),
    # RFC 4320 section 4.1: 100 when the client's Timer E reaches T2 (0.5 + 1 + 2 s), whatever the transport.
    Action.START_TRYING: Timer(Event.TIMER_TRYING, 7 * T1_MS, 7 * T1_MS, Reliable.SAME),
    # RFC 3261 section 13.3.1.4: over any transport, since a later hop may be unreliable.
    Action.START_2XX: Timer(Event.TIMER_2XX, T1_MS, T2_MS, Reliable.SAME),
}

(TERMINATED, INITIAL, CALLING, TRYING, PROCEEDING, ACCEPTED, ACKNOWLEDGED, COMPLETED, CONFIRMED) = State
(
    TU_REQUEST, TU_1XX, TU_2XX, TU_300_699, RECV_REQUEST, RECV_ACK, RECV_1XX, RECV_2XX, RECV_300_699,
    TIMER_A, TIMER_B, TIMER_D, TIMER_E, TIMER_F, TIMER_G, TIMER_H, TIMER_I, TIMER_J, TIMER_K, TIMER_L, TIMER_M,
    TIMER_TRYING, TIMER_2XX, TRANSPORT_ERROR,
) = Event  # fmt: skip
(
    SEND_REQUEST, SEND_RESPONSE, SEND_ACK, SEND_TRYING, PASS_TO_TU, INFORM_TIMEOUT, INFORM_TRANSPORT_ERROR,
    INFORM_NO_ACK, STOP_TIMERS, STOP_RETRANSMISSION, START_A, START_B, START_D, START_E, START_E_AT_T2, START_F,
    START_G, START_H, START_I, START_J, START_K, START_L, START_M, START_INVITE_TRYING, START_TRYING, START_2XX,
) = Action  # fmt: skip
NOTHING = Action.NOTHING

Machine = dict[tuple[State, Event], tuple[State, Action]]

# RFC 3261 figure 5, as amended by RFC 6026 section 7.2.
INVITE_CLIENT: Machine = {
    # state       event             next state   actions
    (INITIAL,     TU_REQUEST):      (CALLING,    SEND_REQUEST | START_A | START_B),
    (CALLING,     TIMER_A):         (CALLING,    SEND_REQUEST | START_A),
    (CALLING,     TIMER_B):         (TERMINATED, INFORM_TIMEOUT),
    (CALLING,     TRANSPORT_ERROR): (TERMINATED, INFORM_TRANSPORT_ERROR),
    (CALLING,     RECV_1XX):        (PROCEEDING, PASS_TO_TU | STOP_TIMERS),
    (CALLING,     RECV_2XX):        (ACCEPTED,   PASS_TO_TU | STOP_TIMERS | START_M),
    (CALLING,     RECV_300_699):    (COMPLETED,  SEND_ACK | PASS_TO_TU | STOP_TIMERS | START_D),
    # No timer runs while the far side rings, and a lost connection ends nothing (SPEC C6).
    (PROCEEDING,  RECV_1XX):        (PROCEEDING, PASS_TO_TU),
    (PROCEEDING,  RECV_2XX):        (ACCEPTED,   PASS_TO_TU | STOP_TIMERS | START_M),
    (PROCEEDING,  RECV_300_699):    (COMPLETED,  SEND_ACK | PASS_TO_TU | STOP_TIMERS | START_D),
    # Timer B runs here only after a CANCEL: RFC 3261 section 9.1, no final within 64*T1 of it.
    (PROCEEDING,  TIMER_B):         (TERMINATED, INFORM_TIMEOUT),
    # Every further 2xx, retransmitted or of another fork, is the TU's to acknowledge (RFC 6026 section 7.2).
    (ACCEPTED,    RECV_2XX):        (ACCEPTED,   PASS_TO_TU),
    (ACCEPTED,    TIMER_M):         (TERMINATED, NOTHING),
    (COMPLETED,   RECV_300_699):    (COMPLETED,  SEND_ACK),
    (COMPLETED,   TIMER_D):         (TERMINATED, NOTHING),
    # The figure informs the TU; it has its final response already and is not told of a second end.
    (COMPLETED,   TRANSPORT_ERROR): (TERMINATED, NOTHING),
}  # fmt: skip

# RFC 3261 figure 6.
NON_INVITE_CLIENT: Machine = {
    # state       event             next state   actions
    (INITIAL,     TU_REQUEST):      (TRYING,     SEND_REQUEST | START_E | START_F),
    (TRYING,      TIMER_E):         (TRYING,     SEND_REQUEST | START_E),
    (TRYING,      TIMER_F):         (TERMINATED, INFORM_TIMEOUT),
    (TRYING,      TRANSPORT_ERROR): (TERMINATED, INFORM_TRANSPORT_ERROR),
    (TRYING,      RECV_1XX):        (PROCEEDING, PASS_TO_TU | START_E_AT_T2),
    (TRYING,      RECV_2XX):        (COMPLETED,  PASS_TO_TU | STOP_TIMERS | START_K),
    (TRYING,      RECV_300_699):    (COMPLETED,  PASS_TO_TU | STOP_TIMERS | START_K),
    (PROCEEDING,  TIMER_E):         (PROCEEDING, SEND_REQUEST | START_E_AT_T2),
    (PROCEEDING,  TIMER_F):         (TERMINATED, INFORM_TIMEOUT),
    (PROCEEDING,  TRANSPORT_ERROR): (TERMINATED, INFORM_TRANSPORT_ERROR),
    (PROCEEDING,  RECV_1XX):        (PROCEEDING, PASS_TO_TU),
    (PROCEEDING,  RECV_2XX):        (COMPLETED,  PASS_TO_TU | STOP_TIMERS | START_K),
    (PROCEEDING,  RECV_300_699):    (COMPLETED,  PASS_TO_TU | STOP_TIMERS | START_K),
    (COMPLETED,   TIMER_K):         (TERMINATED, NOTHING),
}  # fmt: skip

# RFC 3261 figure 7, as amended by RFC 6026 section 7.1; 2xx retransmission (RFC 3261 section 13.3.1.4) is done here
# on behalf of the TU.
INVITE_SERVER: Machine = {
    # state        event             next state     actions
    (INITIAL,      RECV_REQUEST):    (PROCEEDING,   PASS_TO_TU | START_INVITE_TRYING),
    (PROCEEDING,   RECV_REQUEST):    (PROCEEDING,   SEND_RESPONSE),
    (PROCEEDING,   TIMER_TRYING):    (PROCEEDING,   SEND_TRYING),
    (PROCEEDING,   TU_1XX):          (PROCEEDING,   SEND_RESPONSE | STOP_RETRANSMISSION),
    (PROCEEDING,   TU_2XX):          (ACCEPTED,     SEND_RESPONSE | START_2XX | START_L),
    (PROCEEDING,   TU_300_699):      (COMPLETED,    SEND_RESPONSE | STOP_RETRANSMISSION | START_G | START_H),
    # A proxy forwards the 2xx of every fork through one transaction; retransmitted INVITEs are absorbed (RFC 6026).
    (ACCEPTED,     TU_2XX):          (ACCEPTED,     SEND_RESPONSE),
    (ACCEPTED,     TIMER_2XX):       (ACCEPTED,     SEND_RESPONSE | START_2XX),
    (ACCEPTED,     RECV_ACK):        (ACKNOWLEDGED, PASS_TO_TU | STOP_RETRANSMISSION),
    (ACCEPTED,     TIMER_L):         (TERMINATED,   INFORM_NO_ACK),
    (ACKNOWLEDGED, TU_2XX):          (ACKNOWLEDGED, SEND_RESPONSE),
    (ACKNOWLEDGED, TIMER_L):         (TERMINATED,   NOTHING),
    (COMPLETED,    RECV_REQUEST):    (COMPLETED,    SEND_RESPONSE),
    (COMPLETED,    TIMER_G):         (COMPLETED,    SEND_RESPONSE | START_G),
    (COMPLETED,    RECV_ACK):        (CONFIRMED,    STOP_TIMERS | START_I),
    # The figure informs the TU of Timer H; its refusal stands whether it was heard or not.
    (COMPLETED,    TIMER_H):         (TERMINATED,   NOTHING),
    (COMPLETED,    TRANSPORT_ERROR): (TERMINATED,   NOTHING),
    (CONFIRMED,    TIMER_I):         (TERMINATED,   NOTHING),
}  # fmt: skip

# RFC 3261 figure 8, as amended by RFC 4320: the TU cannot send a provisional response, the transaction sends one 100
# when it has waited long, and nothing at all once the client's Timer F has fired (Timer F here is our copy of it).
NON_INVITE_SERVER: Machine = {
    # state       event             next state   actions
    (INITIAL,     RECV_REQUEST):    (TRYING,     PASS_TO_TU | START_TRYING | START_F),
    (TRYING,      TIMER_TRYING):    (PROCEEDING, SEND_TRYING),
    (TRYING,      TU_2XX):          (COMPLETED,  SEND_RESPONSE | STOP_TIMERS | START_J),
    (TRYING,      TU_300_699):      (COMPLETED,  SEND_RESPONSE | STOP_TIMERS | START_J),
    # Too late for an answer, not for the last retransmissions of the request, which Completed absorbs.
    (TRYING,      TIMER_F):         (COMPLETED,  STOP_TIMERS | START_J),
    (TRYING,      TRANSPORT_ERROR): (TERMINATED, NOTHING),
    (PROCEEDING,  RECV_REQUEST):    (PROCEEDING, SEND_RESPONSE),
    (PROCEEDING,  TU_2XX):          (COMPLETED,  SEND_RESPONSE | STOP_TIMERS | START_J),
    (PROCEEDING,  TU_300_699):      (COMPLETED,  SEND_RESPONSE | STOP_TIMERS | START_J),
    (PROCEEDING,  TIMER_F):         (COMPLETED,  STOP_TIMERS | START_J),
    (PROCEEDING,  TRANSPORT_ERROR): (TERMINATED, NOTHING),
    (COMPLETED,   RECV_REQUEST):    (COMPLETED,  SEND_RESPONSE),
    (COMPLETED,   TIMER_J):         (TERMINATED, NOTHING),
    (COMPLETED,   TRANSPORT_ERROR): (TERMINATED, NOTHING),
}  # fmt: skip

# The order is the number of a machine in the compiled array.
MACHINES: dict[str, Machine] = {
    "invite_client": INVITE_CLIENT,
    "non_invite_client": NON_INVITE_CLIENT,
    "invite_server": INVITE_SERVER,
    "non_invite_server": NON_INVITE_SERVER,
}
