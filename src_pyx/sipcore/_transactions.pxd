"""Rows of transactions, what identifies them, and the machines that move them (RFC 3261 section 17)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from sipcore._timers cimport TimerWheel
from sipcore.scan cimport sip_index, sip_span


cdef extern from "pool.h" nogil:
    ctypedef struct sip_pool:
        void *chunks
        int64_t used


cdef extern from "siphash.h" nogil:
    ctypedef struct sip_key:
        uint64_t k0, k1
    sip_key siphash_key(const void *octets)
    uint64_t siphash13(sip_key key, const void *octets, size_t size)


cdef extern from "sources.h" nogil:
    enum: SOURCE_NONE, SOURCE_SHARE_WHOLE
    ctypedef struct source_row:
        int32_t held, unfinished
        uint32_t recent
    ctypedef struct source_table:
        sip_pool rows
        uint32_t period, recent, late, greedy
    bint is_greed_of_few(const source_table *sources)
    source_row *source_at(const source_table *sources, int32_t index)
    int32_t source_find(const source_table *sources, const unsigned char *prefix)
    bint is_within_share(int64_t held, int64_t room, uint32_t share)
    void source_note(source_table *sources, int32_t index)
    bint is_heavy_source(const source_table *sources, int32_t index)
    void sources_start_period(source_table *sources, uint32_t period)


cdef extern from "transactions.h" nogil:
    enum: TRANSACTION_NONE
    enum: TRANSACTION_RELIABLE, TRANSACTION_IN_DIALOG_TABLE, TRANSACTION_CANCELLED
    enum: TRANSACTION_CANCEL_WANTED, TRANSACTION_FORWARDED, TRANSACTION_FLOW_LOST
    ctypedef struct transaction_key:
        uint64_t low, high
    ctypedef struct transaction_link:
        uint32_t previous, next
    ctypedef union transaction_wait:
        int64_t timer
        transaction_link link
    ctypedef struct transaction_row:
        uint32_t generation
        transaction_key key
        uint64_t dialog_key
        int64_t flow
        void *octets
        void *owner
        transaction_wait wait
        int64_t deadline_us
        uint32_t interval_ms, user_agent, to_tag_hash, source
        int64_t repeat_us
        uint8_t machine, state, deadline_event, repeat_event, queue, flags
    ctypedef struct request_keys:
        transaction_key key
        uint64_t shared
        uint8_t is_ready, has_shared
    ctypedef struct hash_table:
        uint32_t count
    ctypedef struct hash_cursor:
        pass
    hash_cursor start_of_search()
    void hash_prefetch(const hash_table *table, uint32_t hash)
    transaction_key request_key(sip_key key, uint32_t user_agent, const char *octets, const sip_index *index,
                                uint32_t method, sip_span token)
    transaction_key response_key(sip_key key, uint32_t user_agent, const char *octets, const sip_index *index,
                                 uint32_t method, sip_span token)
    uint64_t response_tag(sip_key key, const char *octets, const sip_index *index)
    uint64_t make_dialog_key "dialog_key" (sip_key key, uint32_t user_agent, const char *octets, const sip_index *index,
                                           uint32_t method, sip_span token)


# The numbers of sipcore.machines, as C constants; checked against it at import.
cdef enum:
    INVITE_CLIENT = 0
    NON_INVITE_CLIENT = 1
    INVITE_SERVER = 2
    NON_INVITE_SERVER = 3

    STATE_TERMINATED = 0
    STATE_INITIAL = 1
    STATE_CALLING = 2
    STATE_TRYING = 3
    STATE_PROCEEDING = 4
    STATE_ACCEPTED = 5
    STATE_ACKNOWLEDGED = 6
    STATE_COMPLETED = 7
    STATE_CONFIRMED = 8

    EVENT_TU_REQUEST = 0
    EVENT_TU_1XX = 1
    EVENT_TU_2XX = 2
    EVENT_TU_300_699 = 3
    EVENT_RECV_REQUEST = 4
    EVENT_RECV_ACK = 5
    EVENT_RECV_1XX = 6
    EVENT_RECV_2XX = 7
    EVENT_RECV_300_699 = 8
    EVENT_TIMER_B = 10
    EVENT_TIMER_I = 16
    EVENT_TIMER_K = 18
    EVENT_TRANSPORT_ERROR = 23

    SEND_REQUEST = 1 << 0
    SEND_RESPONSE = 1 << 1
    SEND_ACK = 1 << 2
    SEND_TRYING = 1 << 3
    PASS_TO_TU = 1 << 4
    INFORM_TIMEOUT = 1 << 5
    INFORM_TRANSPORT_ERROR = 1 << 6
    INFORM_NO_ACK = 1 << 7
    STOP_TIMERS = 1 << 8
    STOP_RETRANSMISSION = 1 << 9
    HANDLED = 1 << 31      # set in what `step` returns unless the event was ignored


cdef class TransactionTable:
    """The client or the server transactions of one engine."""
    cdef sip_pool pool
    cdef source_table sources                   # who holds how many rows
    cdef hash_table by_key
    cdef hash_table by_dialog
    cdef readonly int64_t started
    cdef readonly int64_t unfinished            # rows before Accepted and Completed
    cdef sip_key key
    cdef dict by_flow                           # connection -> set of handles
    cdef TimerWheel wheel
    cdef uint64_t wheel_tag
    cdef uint32_t generation
    cdef uint32_t queue_head[4]
    cdef uint32_t queue_tail[4]

    # rows
    cdef uint32_t add(self, int machine, transaction_key key, uint32_t user_agent, int64_t flow, bint reliable) noexcept
    # Count the row for its source, whose row in `sources` is `source` if it has one.
    cdef int charge(self, uint32_t index, int32_t source, const unsigned char *prefix) except -1
    cdef int add_to_dialogs(self, uint32_t index, uint64_t dialog_key) except -1
    cdef int note_flow(self, uint32_t index) except -1
    cdef list take_flow(self, int64_t flow)          # handles of the rows of a connection
    cdef void remove(self, uint32_t index) noexcept
    cdef transaction_row *row(self, uint32_t index) noexcept
    cdef uint32_t find(self, transaction_key key) noexcept
    # The first or next row with this dialog key; the cursor starts with zeros.
    cdef uint32_t next_in_dialog(self, uint64_t dialog_key, hash_cursor *cursor) noexcept
    cdef bint has_dialog(self, uint64_t dialog_key) noexcept
    # names of rows that Python keeps
    cdef int64_t handle_of(self, uint32_t index) noexcept
    cdef uint32_t index_of(self, int64_t handle) noexcept
    # machines: what the engine has to do, `arm` afterwards unless `step` was used
    cdef uint32_t transit(self, uint32_t index, int event, int64_t now_us) noexcept
    cdef int arm(self, uint32_t index) except -1
    cdef int64_t step(self, uint32_t index, int event, int64_t now_us) except -1
    cdef bint heeds(self, uint32_t index, int event) noexcept
    cdef int start_deadline(self, uint32_t index, int event, int64_t due_us) except -1
    # time
    cdef uint32_t take_overdue(self, int64_t now_us) noexcept
    cdef int event_due(self, uint32_t index, int64_t now_us) noexcept
    cdef int64_t next_due_us(self) noexcept
    cdef uint32_t oldest_finished(self, int64_t now_us) noexcept
    # the parts
    cdef void count_unfinished(self, transaction_row *row, int change) noexcept
    cdef void drop_flow(self, uint32_t index) noexcept
    cdef void drop_references(self) noexcept
    cdef void release(self, transaction_row *row) noexcept
    cdef int queue_for(self, uint32_t index) noexcept
    cdef void start_timer(self, transaction_row *row, int timer, uint32_t doubled_ms, int64_t now_us) noexcept
    cdef void enqueue(self, uint32_t index, int queue) noexcept
    cdef void dequeue(self, uint32_t index) noexcept
