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
    # what clients that offer it are asked for (RFC 7339)
    cdef bint restrains                  # whether `restraint` may have something to say
    cdef bint few_to_blame               # whether most was refused to heavy sources
    cdef double kept                     # the part of new requests that clients were left when this period began
    cdef uint32_t asked_before           # what `sources.recent` was when this period began
    cdef uint32_t refused, refused_heavy # in this period
    cdef char restraint_text[80]

    # Whether so little is left that a request is worth refusing before it is read.
    cdef bint is_pressed(self, int64_t now_us) noexcept
    # Whether a request for which there is no transaction may have one; `source` and `prefix` are set for `charge`.
    cdef Verdict judge(self, bint in_dialog, int64_t flow, int64_t now_us) noexcept
    cdef bytes retry_after_line(self)
    # Via parameters for the client behind `flow`, in `restraint_text`: their size, 0 for none.
    cdef size_t restraint(self, int64_t flow, int64_t now_us) noexcept

    # private
    cdef void start_period(self, uint32_t period) noexcept
    cdef void note_refusal(self) noexcept
    cdef int percent_to_lose(self) noexcept
    cdef Verdict judge_source(self, bint in_dialog, int64_t now_us) noexcept
    cdef Verdict judge_delay(self, bint is_heavy) noexcept
    cdef bint has_room(self, bint in_dialog, int64_t held, int64_t now_us) noexcept
