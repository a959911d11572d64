# distutils: sources = src_pyx/sipcore/c/scan.c
"""Overload: which requests may have a transaction, and which get a 503 or nothing (FAULTS 45 to 49).

Three bounds, all O(1): transactions without a final response, transactions in all, and the time for which the queue
that requests come from has not been empty.  Of the first two no source holds more than its share; at the third those
who ask most are refused first.  Requests inside dialogs come before new ones (FAULTS 48).  Clients that offer to send
less are told how much less (RFC 7339, by loss): what was refused of all that was asked for, corrected once a period.

Does not know sockets, the clock, messages or how a refusal is written.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf

from sipcore._connections cimport ConnectionTable, address_clear, host_address
from sipcore._peers cimport prefix_of
from sipcore._transactions cimport *

from sipcore.errors import UsageError


cdef enum:
    PERIOD_SHIFT = 20                    # what is recent: within 2**20 microseconds
    REFUSE_ALL = 2                       # times the patience, after which all are refused if a few are not to blame,
    DROP_HEAVY = 4                       # and those of who asks most are dropped
    ENOUGH_TO_JUDGE = 16                 # requests of a period, so that a first refusal does not count as all
    VALIDITY_MS = 500                    # RFC 7339 section 4.3


@cython.final
cdef class Overload:
    def __cinit__(self, TransactionTable table not None, ConnectionTable connections not None):
        self.table = table
        self.connections = connections
        self.max_transactions = 1 << 20
        self.admission_limit = 1 << 17
        self.share = SOURCE_SHARE_WHOLE * 3 // 4
        self.patience_us = 100_000
        self.retry_after = 5
        self.kept = 1.0

    def __repr__(self):
        return (f"<Overload {self.table.unfinished} of {self.admission_limit} unfinished, "
                f"{self.table.live} of {self.max_transactions} transactions>")

    @property
    def source_share(self):
        return self.share / <double>SOURCE_SHARE_WHOLE

    @source_share.setter
    def source_share(self, double share):
        if not 0 < share <= 1:
            raise UsageError(f"a share is more than 0 and at most 1, not {share}")
        self.share = max(1, <uint32_t>(share * SOURCE_SHARE_WHOLE + 0.5))

    @property
    def patience(self):
        return self.patience_us / 1e6

    @patience.setter
    def patience(self, double seconds):
        if not seconds > 0:
            raise UsageError(f"a patience is more than 0 seconds, not {seconds}")
        self.patience_us = <int64_t>min(seconds * 1e6, 1e15)

    @property
    def retry_after(self):
        return self.seconds

    @retry_after.setter
    def retry_after(self, int seconds):
        if seconds < 0:
            raise UsageError(f"nobody can come back {-seconds} seconds ago")
        self.seconds = seconds
        spread = range(seconds, 2 * seconds + 1, max(1, seconds // 8))
        self.retry_after_lines = [b"Retry-After: %d\r\n" % wait for wait in spread]

    @property
    def sources(self):
        return self.table.source_count

    cdef bytes retry_after_line(self):
        """The next of some waits, so that not all come back at once."""
        self.turn += 1
        return <bytes>self.retry_after_lines[self.turn % <uint32_t>len(self.retry_after_lines)]

    cdef bint is_pressed(self, int64_t now_us) noexcept:
        """A single source reaches its share of a bound when that much of it is taken; nobody does before."""
        if self.standing_us > self.patience_us:
            return True
        if self.table.unfinished * SOURCE_SHARE_WHOLE >= self.admission_limit * self.share:
            return True
        return (self.table.pool.used * SOURCE_SHARE_WHOLE >= self.max_transactions * self.share
                and self.table.oldest_finished(now_us) == TRANSACTION_NONE)

    cdef Verdict judge(self, bint in_dialog, int64_t flow, int64_t now_us) noexcept:
        cdef Verdict verdict
        cdef host_address remote
        if not self.connections.flow_remote(flow, &remote):
            address_clear(&remote)
        prefix_of(&remote, self.prefix)
        self.source = source_find(&self.table.sources, self.prefix)
        if <uint32_t>(now_us >> PERIOD_SHIFT) != self.table.sources.period:
            self.start_period(<uint32_t>(now_us >> PERIOD_SHIFT))
        verdict = self.judge_source(in_dialog, now_us)
        if verdict != ADMITTED:
            source_note(&self.table.sources, self.source)
            self.note_refusal()
        return verdict

    cdef Verdict judge_source(self, bint in_dialog, int64_t now_us) noexcept:
        cdef int64_t held = 0, unfinished = 0
        cdef Verdict verdict
        if self.source != SOURCE_NONE:
            held = source_at(&self.table.sources, self.source).held
            unfinished = source_at(&self.table.sources, self.source).unfinished
        if not in_dialog:
            if self.standing_us > self.patience_us:
                verdict = self.judge_delay(is_heavy_source(&self.table.sources, self.source))
                if verdict != ADMITTED:
                    return verdict
            if not is_within_share(unfinished, self.admission_limit - self.table.unfinished, self.share):
                self.over_share += self.table.unfinished < self.admission_limit
                return REFUSED
        return ADMITTED if self.has_room(in_dialog, held, now_us) else REFUSED

    cdef Verdict judge_delay(self, bint is_heavy) noexcept:
        """More comes in than can be answered: refusing is cheap, so the queue shrinks and delays end (RFC 7339)."""
        self.table.sources.late += 1
        self.table.sources.greedy += is_heavy
        if is_heavy and self.standing_us > DROP_HEAVY * self.patience_us:
            self.dropped += 1
            return DROPPED
        if not is_heavy and (self.standing_us <= REFUSE_ALL * self.patience_us or is_greed_of_few(&self.table.sources)):
            return ADMITTED
        self.overdue += 1
        return REFUSED

    cdef bint has_room(self, bint in_dialog, int64_t held, int64_t now_us) noexcept:
        """Room for one more row, made by forgetting an old finished one if need be.

        An eighth of the room is for requests inside dialogs alone.
        """
        cdef int64_t room = self.max_transactions - self.table.pool.used
        cdef uint32_t oldest
        if in_dialog:
            room += self.max_transactions // 8
        if is_within_share(held, room, self.share):
            return True
        oldest = self.table.oldest_finished(now_us)
        if oldest == TRANSACTION_NONE:
            self.over_share += room > 0
            return False
        if room > 0 and self.table.row(oldest).source != <uint32_t>(self.source + 1):
            self.over_share += 1
            return False
        self.forgotten += 1
        self.table.remove(oldest)
        if self.source != SOURCE_NONE:
            self.source = source_find(&self.table.sources, self.prefix)
        return True

    # what clients are asked for

    cdef void note_refusal(self) noexcept:
        self.restrains = True
        self.refused += 1
        self.refused_heavy += is_heavy_source(&self.table.sources, self.source)
        self.few_to_blame = self.refused_heavy * 2 > self.refused

    cdef void start_period(self, uint32_t period) noexcept:
        """What is left to clients shrinks by the part that was refused, and grows by a quarter in a period without.

        A tenth is added even then, so that a few refusals are left and no room stays empty.
        """
        cdef uint32_t passed = period - self.table.sources.period
        if self.refused:
            self.kept = min(1.0, 1.1 * max(0.01, 1 - self.percent_to_lose() / 100.0))
            passed -= 1
        for _ in range(min(passed, 32)):
            self.kept = min(1.0, self.kept * 1.25 + 0.01)
        self.refused = self.refused_heavy = 0
        self.restrains = self.kept < 1
        sources_start_period(&self.table.sources, period)
        self.asked_before = self.table.sources.recent

    cdef int percent_to_lose(self) noexcept:
        """Of what clients would send without restraint."""
        cdef uint32_t asked = max(self.table.sources.recent - self.asked_before, <uint32_t>ENOUGH_TO_JUDGE)
        return <int>(100.5 - 100 * self.kept * (1 - self.refused / <double>max(asked, self.refused)))

    cdef size_t restraint(self, int64_t flow, int64_t now_us) noexcept:
        """Nothing for who is not to blame while a few are: RFC 7339 leaves it to the server whom it asks for what."""
        cdef host_address remote
        cdef unsigned char prefix[16]
        cdef int percent
        if <uint32_t>(now_us >> PERIOD_SHIFT) != self.table.sources.period:
            self.start_period(<uint32_t>(now_us >> PERIOD_SHIFT))
        percent = self.percent_to_lose()
        self.restrains = percent > 0 or self.refused > 0
        if percent <= 0 or not self.connections.flow_remote(flow, &remote):
            return 0
        prefix_of(&remote, prefix)
        if self.few_to_blame and not is_heavy_source(&self.table.sources, source_find(&self.table.sources, prefix)):
            return 0
        return snprintf(self.restraint_text, sizeof(self.restraint_text),
                        ";oc=%d;oc-algo=\"loss\";oc-validity=%d;oc-seq=%lld.%05d", percent, <int>VALIDITY_MS,
                        <long long>(now_us // 1_000_000), <int>(now_us % 1_000_000 // 10))
