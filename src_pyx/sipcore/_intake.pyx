# distutils: sources = src_pyx/sipcore/c/scan.c
"""Datagrams in: each is looked at while the one before it is handled, then given to the side that it is for.

This room does not know sockets, nor what a request or a response means.
"""

import logging

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memset

from sipcore._client cimport Client
from sipcore._connections cimport Local
from sipcore._core cimport *
from sipcore._group cimport Group
from sipcore._server cimport Server
from sipcore.scan cimport *

logger = logging.getLogger("sipcore.engine")

cdef enum:
    LINES_AT_FIRST = 64
    NOT_SCANNED = 0x7fffffff             # no result of sip_scan
    OUTLINED = 0x7ffffffe                # nor this: only sip_outline has looked


@cython.final
cdef class Intake:
    def __cinit__(self, Core core not None, Server server not None, Client client not None, Group group not None):
        cdef int at
        self.core = core
        self.server = server
        self.client = client
        self.group = group
        for at in range(2):
            self.scanned[at].lines = <sip_line *>malloc(LINES_AT_FIRST * sizeof(sip_line))
            if self.scanned[at].lines == NULL:
                raise MemoryError
            self.scanned[at].lines_room = LINES_AT_FIRST

    def __dealloc__(self):
        free(self.scanned[0].lines)
        free(self.scanned[1].lines)

    cdef int look_ahead(self, const char *octets, size_t size, int user_agent, int which) noexcept:
        """Not if its source decides whether it is read."""
        cdef Agent agent = self.core.agent(user_agent)
        cdef scanned_message *scanned = &self.scanned[which]
        scanned.result = NOT_SCANNED
        if agent is None or agent.accepts is not None or is_keep_alive(octets, size):
            return 0
        if self.server.overload.is_pressed(self.core.now_us) and self.outline(octets, size, agent, scanned):
            return 0
        return self.look_at(octets, size, agent, scanned)

    cdef bint outline(self, const char *octets, size_t size, Agent agent, scanned_message *scanned) noexcept:
        """Look as far as a refusal needs; False when the request is not plain, or may be another worker's (FAULTS 47)."""
        if self.core.worker >= 0 and (self.group.by_call or self.group.predecessors):
            return False
        if not sip_outline(octets, size, scanned.lines, scanned.lines_room, &scanned.index):
            return False
        if agent.is_stateless(octets, &scanned.index):
            return False
        self.server.prepare_outline(octets, &scanned.index, agent, &scanned.keys)
        scanned.result = OUTLINED
        return True

    cdef int look_at(self, const char *octets, size_t size, Agent agent, scanned_message *scanned) noexcept:
        """Scan, and fetch what a request will be looked up in."""
        scanned.keys.is_ready = False
        self.scan(octets, size, scanned)
        if scanned.result == SIP_OK and not scanned.index.status_code and not agent.is_stateless(octets, &scanned.index):
            self.server.prepare(octets, &scanned.index, agent, &scanned.keys)
        return 0

    cdef int take(self, const char *octets, size_t size, Local local, int64_t flow, int which) noexcept:
        cdef Agent agent
        self.core.counters[COUNT_RECEIVED] += 1
        try:
            agent = self.core.agent(local.user_agent)
            if agent is None:
                self.core.counters[COUNT_UNSERVED] += 1
            elif is_keep_alive(octets, size):
                self.core.counters[COUNT_KEEP_ALIVES] += 1
            elif agent.accepts is not None and not self.is_welcome(octets, size, agent, flow):
                self.core.counters[COUNT_BAD_SOURCES] += 1
            else:
                self.take_datagram(octets, size, &self.scanned[which], agent, flow)
        except Exception:
            self.core.counters[COUNT_INTERNAL_ERRORS] += 1
            logger.exception("a message could not be handled")
        return 0

    cdef bint is_welcome(self, const char *octets, size_t size, Agent agent, int64_t flow) except -1:
        """Responses pass, they belong to a request of ours or to none; requests pass by the filter."""
        if size >= 8 and memcmp(octets, b"SIP/2.0 ", 8) == 0:
            return True
        return agent.accepts(self.core.connections.flow_info(flow)[3])

    cdef int take_datagram(self, const char *octets, size_t size, scanned_message *scanned, Agent agent,
                           int64_t flow) except -1:
        if scanned.result == OUTLINED:
            if self.server.take_outline(octets, &scanned.index, scanned.lines, flow, &scanned.keys):
                return 0
            scanned.result = NOT_SCANNED
        if scanned.result == NOT_SCANNED:
            self.look_at(octets, size, agent, scanned)
        if self.core.worker >= 0 and scanned.result == SIP_OK and self.group.takes(
                octets, size, &scanned.index, agent, flow):
            return 0
        if scanned.result != SIP_OK:
            return self.take_malformed(octets, &scanned.index, scanned.lines, flow)
        if scanned.index.status_code:
            return self.client.take_response(octets, &scanned.index, scanned.lines, agent, flow)
        return self.server.take_request(octets, &scanned.index, scanned.lines, agent, flow, &scanned.keys)

    cdef int take_malformed(self, const char *octets, const sip_index *index, const sip_line *lines,
                            int64_t flow) except -1:
        if index.status_code or index.method_token.size == 0:
            self.core.counters[COUNT_MALFORMED_RESPONSES] += 1
            return 0
        return self.server.refuse_malformed(octets, index, lines, flow)

    cdef int take_unreachable(self, const char *octets, size_t size, Agent agent, int64_t flow, str reason) except -1:
        """Only the branch tells whose request it was: an error that quotes too little of it ends nothing."""
        cdef scanned_message *scanned = &self.scanned[0]
        self.scan(octets, size, scanned)
        if not scanned.index.status_code and self.client.take_unreachable(octets, &scanned.index, agent, flow, reason):
            self.core.counters[COUNT_UNREACHABLE] += 1
        else:
            self.core.counters[COUNT_STRAY_UNREACHABLE] += 1
        return 0

    cdef int scan(self, const char *octets, size_t size, scanned_message *scanned) noexcept:
        """Scan with as many lines as the message has; without memory for them it is a fault."""
        cdef sip_line *lines
        cdef sip_index *index = &scanned.index
        scanned.result = sip_scan(octets, size, &self.core.limits, scanned.lines, scanned.lines_room, index)
        if scanned.result != SIP_MORE_LINES:
            return 0
        lines = <sip_line *>realloc(scanned.lines, index.line_count * sizeof(sip_line))
        if lines == NULL:
            memset(index, 0, sizeof(sip_index))
            scanned.result = -SIP_FAULT_EMPTY
            return 0
        scanned.lines, scanned.lines_room = lines, index.line_count
        scanned.result = sip_scan(octets, size, &self.core.limits, lines, scanned.lines_room, index)
        return 0


def outline(bytes data not None):
    """What a refusal would be made of: (top Via, sent-by, branch, Call-ID, names of the lines copied); None where the
    request has to be read first."""
    cdef sip_line lines[64]
    cdef sip_index index
    if not sip_outline(data, len(data), lines, 64, &index):
        return None
    names = [data[lines[at].name_at:lines[at].name_at + lines[at].name_size] for at in range(index.line_count)]
    return (octets_of(data, index.top_via), octets_of(data, index.sent_by), octets_of(data, index.branch),
            octets_of(data, index.call_id), names)


cdef bytes octets_of(bytes data, sip_span span):
    return data[span.at:span.at + span.size]
