# distutils: sources = src_pyx/sipcore/c/scan.c
"""What both sides of the engine share: the batch's time, callbacks, names, counters, direct answers.

Does not know transactions.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, strcspn

from sipcore._connections cimport (
    ADDRESS_TEXT_SIZE, ConnectionTable, FLOW_DATAGRAM_V4, address_equal, address_format, address_is_v4, address_port,
    address_v4, flow_host, flow_kind,
    flow_port, address_octets, host_address,
)
from sipcore._framing cimport read_limits
from sipcore._message cimport Request
from sipcore._outbox cimport Outbox
from sipcore._overload cimport Overload
from sipcore._timers cimport TimerWheel
from sipcore._transactions cimport response_tag, sip_key, siphash_key
from sipcore.scan cimport (
    sip_default_limits, SIP_METHOD_ACK, SIP_METHOD_CANCEL, SIP_METHOD_INVITE, SIP_METHOD_OTHER, sip_answer, sip_index, sip_line,
    sip_method_id, sip_offers_restraint, sip_response_room, sip_source, sip_write_response,
)

from sipcore.errors import UsageError

logger = logging.getLogger("sipcore.engine")


cdef extern from "engine.h" nogil:
    void put_hex(char *out, uint64_t word)
    size_t put_v4(char *out, uint32_t host)


cdef extern from "worker.h" nogil:
    uint64_t worker_seal(uint64_t word, uint64_t secret, int worker)


cdef extern from "siphash.h" nogil:
    uint64_t siphash24(sip_key key, const void *octets, size_t size)


cdef enum:
    MOST = 0x7fffffff                    # who accepts connections has limits of its own


COUNTER_NAMES = (
    "received", "keep_alives", "unserved", "bad_sources", "malformed_requests", "malformed_responses", "requests",
    "request_retransmissions", "acks_absorbed", "stray_acks", "cancels", "merged_requests", "refused_requests",
    "replies", "late_replies", "response_retransmissions", "missing_acks", "responses", "stray_responses",
    "requests_sent", "request_repeats", "timeouts", "transport_errors", "unreachable", "stray_unreachable",
    "callback_errors", "internal_errors",
)
if len(COUNTER_NAMES) != COUNTER_COUNT:
    raise ImportError("a counter of the engine has no name")


def derive_key(key: bytes, purpose: bytes, /) -> bytes:
    """A key of 16 octets for one purpose, from the engine's own."""
    cdef sip_key whole = siphash_key(<const char *>key)
    cdef uint64_t halves[2]
    for half in range(2):
        octets = purpose + bytes([half])
        halves[half] = siphash24(whole, <const char *>octets, len(octets))
    return PyBytes_FromStringAndSize(<char *>halves, 16)


@cython.final
cdef class Agent:
    def __cinit__(self, int number, events not None):
        self.number = number
        self.events = events
        self.on_request = events.on_request
        self.on_pong = getattr(events, "on_pong", None)
        self.is_proxy = getattr(events, "is_proxy", False)
        self.set_stateless(getattr(events, "stateless_methods", ()))

    def set_stateless(self, methods):
        """UsageError for INVITE, ACK and CANCEL, which are nothing without a transaction."""
        cdef uint64_t known = 0
        names = []
        for name in methods:
            octets = name.encode("ascii")
            number = sip_method_id(octets, len(octets))
            if number in (SIP_METHOD_INVITE, SIP_METHOD_ACK, SIP_METHOD_CANCEL):
                raise UsageError(f"{name} cannot be stateless")
            if number == SIP_METHOD_OTHER:
                names.append(octets)
            else:
                known |= <uint64_t>1 << <int>number
        self.stateless = known
        self.stateless_names = frozenset(names)

    cdef inline bint is_stateless(self, const char *octets, const sip_index *index):
        if index.method != SIP_METHOD_OTHER:
            return self.stateless >> index.method & 1
        return bool(self.stateless_names) and (
            octets[index.method_token.at:index.method_token.at + index.method_token.size] in self.stateless_names
        )


@cython.final
cdef class Core:
    def __cinit__(self, bytes key not None, double now, object on_wake, object clock, object limits=None):
        if len(key) != 16:
            raise UsageError(f"an engine's key has 16 octets, not {len(key)}")
        self.connections = ConnectionTable(derive_key(key, b"connections"), max_connections=MOST, max_per_address=MOST)
        self.outbox = Outbox(self.connections)
        self.wheel = TimerWheel(<int64_t>(now * 1e6))
        self.agents = [None]
        self.on_wake = on_wake
        self.clock = clock
        self.now_us = <int64_t>(now * 1e6)
        name_key = derive_key(key, b"names")
        tag_key = derive_key(key, b"tags")
        self.name_key = siphash_key(<const char *>name_key)
        self.tag_key = siphash_key(<const char *>tag_key)
        self.worker = -1
        self.limits = sip_default_limits
        if limits is not None:
            read_limits(limits, &self.limits)

    def __dealloc__(self):
        free(self.scratch)

    cdef void set_now(self, double now) noexcept:
        cdef int64_t now_us = <int64_t>(now * 1e6 + 0.5)
        if now_us > self.now_us:
            self.now_us = now_us

    cdef int enter_quietly(self) except -1:
        if self.in_batch:
            return 0
        if self.clock is not None:
            self.set_now(self.clock())
        if not self.woken and self.on_wake is not None:
            self.woken = True
            self.on_wake()
        return 0

    cdef Agent agent(self, int number):
        return <Agent>self.agents[number] if 0 < number < len(self.agents) else None

    # callbacks: what they raise is logged; a BaseException is raised again when the batch is finished

    cdef bint call(self, object callback, object argument) except -1:
        """Whether `callback(argument)` returned."""
        try:
            callback(argument)
        except BaseException as error:
            self.failed(error)
            return False
        return True

    cdef bint run(self, object callback) except -1:
        """Whether `callback()` returned."""
        try:
            callback()
        except BaseException as error:
            self.failed(error)
            return False
        return True

    cdef int failed(self, object error) except -1:
        self.counters[COUNT_CALLBACK_ERRORS] += 1
        if isinstance(error, Exception):
            logger.error("a callback of the engine failed", exc_info=error)
        elif self.fatal is None:
            self.fatal = error
        return 0

    cdef bint is_same_host(self, int64_t flow, int64_t other) noexcept:
        """Whether both flows come from one host; a flow that has ended is not held against anybody."""
        cdef host_address one, another
        cdef unsigned char one_host[16]
        cdef unsigned char other_host[16]
        if flow == other or not self.connections.flow_remote(flow, &one):
            return True
        if not self.connections.flow_remote(other, &another):
            return False
        address_octets(&one, one_host)
        address_octets(&another, other_host)
        return memcmp(one_host, other_host, 16) == 0

    cdef bint is_same_remote(self, int64_t flow, int64_t other) noexcept:
        cdef host_address one, another
        return (self.connections.flow_remote(flow, &one) and self.connections.flow_remote(other, &another)
                and address_equal(&one, &another))

    # names

    cdef str new_name(self, int words):
        """16 hexadecimal digits a word: the keyed hash of a counter, unpredictable and never twice in practice."""
        cdef char text[64]
        cdef uint64_t at[2]
        cdef uint64_t hashed
        cdef int word
        self.names += 1
        for word in range(words):
            at[0], at[1] = self.names, word
            hashed = siphash24(self.name_key, at, sizeof(at))
            if word == 0 and self.worker >= 0:
                hashed = worker_seal(hashed, self.worker_secret, self.worker)
            put_hex(text + 16 * word, hashed)
        return text[:16 * words].decode("ascii")

    cdef str tag_of_request(self, Request request):
        """The To tag that the engine gives responses to `request`; None when it has one of its own."""
        if request.index.to_tag.size:
            return None
        return self.tag_of(PyBytes_AS_STRING(request.octets), &request.index)[:16].decode("ascii")

    cdef const char *tag_of(self, const char *octets, const sip_index *index) noexcept:
        """The To tag of every response to a request, and to its CANCEL: made of the request alone, so that a
        stateless answer carries the same one again (RFC 3261 section 8.2.7).  Lives until the next call."""
        cdef uint64_t tag = response_tag(self.tag_key, octets, index)
        if self.worker >= 0:
            tag = worker_seal(tag, self.worker_secret, self.worker)
        put_hex(self.tag_text, tag)
        return self.tag_text

    # direct answers

    cdef const sip_source *source_of(self, const char *octets, const sip_index *index, int64_t flow) noexcept:
        """Where a request on the flow comes from, for received and rport, and what its client is asked for (RFC 7339);
        NULL when the flow has ended.  Lives until the next call."""
        cdef host_address remote
        if flow_kind(flow) == FLOW_DATAGRAM_V4:
            self.source.host_size = put_v4(self.source_text, flow_host(flow))
            self.source.port = flow_port(flow)
        elif not self.connections.flow_remote(flow, &remote):
            return NULL
        elif address_is_v4(&remote):
            self.source.host_size = put_v4(self.source_text, address_v4(&remote))
            self.source.port = <uint16_t>address_port(&remote)
        else:
            address_format(&remote, self.source_text)
            self.source.host_size = strcspn(self.source_text, "%")     # a zone means nothing to the far side
            self.source.port = <uint16_t>address_port(&remote)
        self.source.host = self.source_text
        self.source.restraint_size = 0
        if self.overload.restrains and sip_offers_restraint(octets, index.top_via):
            self.source.restraint_size = <uint16_t>self.overload.restraint(flow, self.now_us)
            self.source.restraint = self.overload.restraint_text
        return &self.source

    cdef int reserve(self, size_t room) except -1:
        """Make `scratch` at least `room` octets."""
        cdef char *grown
        if room > self.scratch_room:
            grown = <char *>realloc(self.scratch, room)
            if grown == NULL:
                raise MemoryError
            self.scratch, self.scratch_room = grown, room
        return 0

    cdef size_t write_answer(self, const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                             bytes header_lines, int64_t flow) except? 0:
        """Write a response without body into `scratch`; its size, 0 when the request is past answering."""
        cdef sip_answer answer
        cdef size_t room
        answer.status_code = status_code
        answer.reason_phrase = NULL
        answer.reason_phrase_size = 0
        answer.to_tag = self.tag_of(octets, index)
        answer.to_tag_size = 16
        answer.header_lines = PyBytes_AS_STRING(header_lines) if header_lines is not None else NULL
        answer.header_lines_size = PyBytes_GET_SIZE(header_lines) if header_lines is not None else 0
        answer.body = NULL
        answer.body_size = 0
        answer.source = self.source_of(octets, index, flow)
        answer.keeps_record_route = False
        room = sip_response_room(index, &answer)
        self.reserve(room)
        return sip_write_response(octets, index, lines, &answer, self.scratch, room)

    cdef int answer(self, const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                    bytes header_lines, int64_t flow) except -1:
        """Send a response that no transaction remembers."""
        cdef size_t size = self.write_answer(octets, index, lines, status_code, header_lines, flow)
        if size:
            self.outbox.send_octets(flow, self.scratch, size)
        return 0
