"""Who may begin something new, and who is told to come back later (FAULTS 45 to 49)."""

from libc.stdint cimport int32_t, int64_t, uint32_t

from sipcore._connections cimport ConnectionTable
from sipcore._transactions cimport TransactionTable


cdef enum Verdict:
    ADMITTED
    REFUSED                              # with a 503
    DROPPED                              # without an answer


cdef class Overload:
    cdef TransactionTable table
    cdef ConnectionTable connections
    cdef public int64_t admission_limit
    cdef public int64_t max_transactions
    cdef uint32_t share                  # of SOURCE_SHARE_WHOLE
    cdef int64_t patience_us
    cdef int seconds
    cdef list retry_after_lines          # taken in turn
    cdef uint32_t turn
    cdef int64_t standing_us             # how long the queue that the batch came from has not been empty
    cdef int32_t source                  # of the request judged last, and what it is known by
    cdef unsigned char prefix[16]
    cdef readonly int64_t forgotten      # finished transactions that made room
    cdef readonly int64_t over_share, overdue, dropped

    # Whether so little is left that a request is worth refusing before it is read.
    cdef bint is_pressed(self, int64_t now_us) noexcept
    # Whether a request for which there is no transaction may have one; `source` and `prefix` are set for `charge`.
    cdef Verdict judge(self, bint in_dialog, int64_t flow, int64_t now_us) noexcept
    cdef bytes retry_after_line(self)

    # private
    cdef Verdict judge_source(self, bint in_dialog, int64_t now_us) noexcept
    cdef Verdict judge_delay(self, bint is_heavy) noexcept
    cdef bint has_room(self, bint in_dialog, int64_t held, int64_t now_us) noexcept
