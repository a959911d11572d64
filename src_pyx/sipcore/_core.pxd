"""What the server side and the client side of the engine share."""

from libc.stdint cimport int64_t, uint64_t

from sipcore._connections cimport ConnectionTable
from sipcore._message cimport Request
from sipcore._outbox cimport Outbox
from sipcore._overload cimport Overload
from sipcore._timers cimport TimerWheel
from sipcore._transactions cimport sip_key
from sipcore.scan cimport sip_index, sip_limits, sip_line, sip_source


# What is counted; the names in COUNTER_NAMES stand in the same order.
cdef enum:
    COUNT_RECEIVED
    COUNT_KEEP_ALIVES
    COUNT_UNSERVED
    COUNT_BAD_SOURCES
    COUNT_MALFORMED_REQUESTS
    COUNT_MALFORMED_RESPONSES
    COUNT_REQUESTS
    COUNT_REQUEST_RETRANSMISSIONS
    COUNT_ACKS_ABSORBED
    COUNT_STRAY_ACKS
    COUNT_CANCELS
    COUNT_MERGED
    COUNT_REFUSED
    COUNT_REPLIES
    COUNT_LATE_REPLIES
    COUNT_RESPONSE_RETRANSMISSIONS
    COUNT_MISSING_ACKS
    COUNT_RESPONSES
    COUNT_STRAY_RESPONSES
    COUNT_REQUESTS_SENT
    COUNT_REQUEST_REPEATS
    COUNT_TIMEOUTS
    COUNT_TRANSPORT_ERRORS
    COUNT_UNREACHABLE
    COUNT_STRAY_UNREACHABLE
    COUNT_CALLBACK_ERRORS
    COUNT_INTERNAL_ERRORS
    COUNTER_COUNT


cdef class Agent:
    """One user agent: who hears of what comes in on its local addresses."""
    cdef int number
    cdef object events
    cdef object on_request
    cdef object on_pong                  # None: nobody asks
    cdef uint64_t stateless              # bit n: method number n
    cdef frozenset stateless_names       # of methods that have no number
    cdef bint is_proxy
    cdef object accepts                  # None: requests are taken from anywhere

    cdef bint is_stateless(self, const char *octets, const sip_index *index)


cdef class Core:
    cdef ConnectionTable connections
    cdef Outbox outbox
    cdef TimerWheel wheel
    cdef list agents                     # by number; None: removed
    cdef int64_t now_us                  # never goes back
    cdef sip_limits limits               # of what comes in
    cdef bint in_batch
    cdef bint woken
    cdef object on_wake
    cdef object clock
    cdef object fatal                    # a BaseException of a callback, raised when the batch is finished
    cdef int64_t counters[32]
    cdef sip_key name_key
    cdef sip_key tag_key
    cdef uint64_t names                  # branches, tags and Call-IDs made
    cdef int worker                      # coded in these names, -1: alone
    cdef uint64_t worker_secret          # that the group codes it with
    # where the answer to the message at hand goes
    cdef Overload overload
    cdef sip_source source
    cdef char source_text[80]
    cdef char tag_text[16]
    cdef char *scratch                   # where a direct answer is written
    cdef size_t scratch_room

    cdef void set_now(self, double now) noexcept
    # Outside of a batch: take the time, and have the driver flush soon.
    cdef int enter_quietly(self) except -1
    cdef Agent agent(self, int number)
    # Callbacks; False when it failed, which has been logged and counted.
    cdef bint call(self, object callback, object argument) except -1
    cdef bint run(self, object callback) except -1
    cdef int failed(self, object error) except -1
    cdef bint is_same_host(self, int64_t flow, int64_t other) noexcept
    cdef bint is_same_remote(self, int64_t flow, int64_t other) noexcept     # host and port
    # Names
    cdef str new_name(self, int words)
    cdef str tag_of_request(self, Request request)
    cdef const char *tag_of(self, const char *octets, const sip_index *index) noexcept
    # Answers without Python objects
    cdef const sip_source *source_of(self, const char *octets, const sip_index *index, int64_t flow) noexcept
    cdef int reserve(self, size_t room) except -1
    cdef size_t write_answer(self, const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                             bytes header_lines, int64_t flow) except? 0
    cdef int answer(self, const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                    bytes header_lines, int64_t flow) except -1
