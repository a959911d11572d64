# distutils: sources = src_pyx/sipcore/c/scan.c
"""Connections in: sockets read, messages framed where they lie, keep-alives answered (RFC 5626 section 4.4.1).

Does not know what a request or a response means, nor who closes a connection that cannot be framed any more.
"""

import logging

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from sipcore._connections cimport Local
from sipcore._core cimport *
from sipcore._framing cimport FRAME_FAULT, FRAME_MESSAGE, FRAME_NONE, FRAME_PING, Frame, StreamFramer, new_framer
from sipcore._intake cimport is_keep_alive, scanned_message
from sipcore._outbox cimport StreamEnd
from sipcore.scan cimport *

from sipcore.errors import TransportError

logger = logging.getLogger("sipcore.engine")

cdef enum:
    CHUNK = 32768                        # octets of one read; answers to as much fit into a write queue


cdef inline int default_port(int transport) noexcept:
    if transport == SIP_TRANSPORT_WS:
        return 80
    if transport == SIP_TRANSPORT_WSS:
        return 443
    return 5061 if transport == SIP_TRANSPORT_TLS else 5060


@cython.final
cdef class Streams:
    def __cinit__(self, Intake intake not None):
        self.intake, self.group = intake, intake.group
        self.core, self.server, self.client = intake.core, intake.server, intake.client
        self.chunk = <char *>malloc(CHUNK)
        if self.chunk == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.chunk)

    cdef int share(self, int64_t flow, str identity, bint may_alias) except -1:
        cdef StreamEnd end = self.core.outbox.end_of(flow)
        if end is None or not self.core.connections.share(flow, identity):
            raise TransportError(f"flow {flow} has ended")
        end.may_alias = may_alias
        return 0

    cdef StreamFramer framer_of(self, StreamEnd end):
        if end.framer is None:
            end.framer, self.spare = self.spare, None
        if end.framer is None:
            end.framer = new_framer(&self.core.limits)
        return end.framer

    cdef int read(self, StreamEnd end) except -1:
        """Read a socket once."""
        cdef Py_ssize_t size = end.socket.take(self.chunk, CHUNK)
        if size <= 0:
            return READ_ENDED if size == 0 else READ_BROKEN if size < -1 else READ_NOTHING
        if not self.take_chunk(end, self.chunk, size):
            return READ_NO_SIP
        return self.part_of(end)

    cdef int part_of(self, StreamEnd end) noexcept:
        if not end.has_part():
            return READ_WHOLE
        return READ_NEXT if end.has_next else READ_PART

    cdef bint take_chunk(self, StreamEnd end, char *octets, size_t size) except -1:
        cdef Local local = self.core.connections.flow_local(end.flow)
        cdef Agent agent = self.core.agent(local.user_agent) if local is not None else None
        cdef StreamFramer framer
        cdef bint goes_on
        cdef int64_t received = self.core.counters[COUNT_RECEIVED]
        if agent is None:
            return False
        self.core.connections.touch(end.flow, self.core.now_us)
        framer = self.framer_of(end)
        framer.lend(octets, size)
        try:
            goes_on = self.take_frames(framer, agent, end)
        finally:
            framer.take_back()
        end.has_next = self.core.counters[COUNT_RECEIVED] != received
        if framer.is_fresh():
            end.framer = None
            self.spare = framer
        return goes_on

    cdef bint take_frames(self, StreamFramer framer, Agent agent, StreamEnd end) except -1:
        """What a connection has whole; False when it can no longer be framed."""
        cdef const char *octets = NULL
        cdef int64_t flow = end.flow
        cdef Frame frame
        while True:
            frame = framer.next(&octets)
            if frame == FRAME_NONE:
                return True
            if frame == FRAME_MESSAGE:
                self.core.counters[COUNT_RECEIVED] += 1
                self.take_framed(octets, &framer.index, framer.lines, agent, end)
            elif frame == FRAME_FAULT:
                self.core.counters[COUNT_RECEIVED] += 1
                self.intake.take_malformed(octets, &framer.index, framer.lines, flow)
                return False
            else:
                self.core.counters[COUNT_KEEP_ALIVES] += 1
                if frame == FRAME_PING:
                    self.core.outbox.send(flow, b"\r\n")
                elif agent.on_pong is not None:
                    self.core.call(agent.on_pong, flow)

    cdef bint take_message(self, StreamEnd end, const char *octets, size_t size) except -1:
        cdef Local local = self.core.connections.flow_local(end.flow)
        cdef Agent agent = self.core.agent(local.user_agent) if local is not None else None
        cdef scanned_message *scanned = &self.intake.scanned[0]
        if agent is None:
            return False
        self.core.connections.touch(end.flow, self.core.now_us)
        if is_keep_alive(octets, size):
            self.take_keep_alive(size, agent, end.flow)
            return True
        self.core.counters[COUNT_RECEIVED] += 1
        self.intake.scan(octets, size, scanned)
        if scanned.result == SIP_OK and scanned.index.size == size:
            self.take_framed(octets, &scanned.index, scanned.lines, agent, end)
            return True
        if scanned.result == SIP_OK:
            scanned.index.fault = SIP_FAULT_CONTENT_LENGTH
        self.intake.take_malformed(octets, &scanned.index, scanned.lines, end.flow)
        return scanned.index.status_code != 0 or scanned.index.method_token.size != 0

    cdef int take_keep_alive(self, size_t size, Agent agent, int64_t flow) except -1:
        """CRLFCRLF is answered, CRLF is an answer (RFC 5626 section 4.4.1)."""
        self.core.counters[COUNT_KEEP_ALIVES] += 1
        if size > 2:
            self.core.outbox.send(flow, b"\r\n")
        elif size and agent.on_pong is not None:
            self.core.call(agent.on_pong, flow)
        return 0

    cdef int take_framed(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                         StreamEnd end) noexcept:
        cdef int64_t flow = end.flow
        try:
            if self.core.worker >= 0 and self.group.takes(octets, index.size, index, agent, flow):
                pass
            elif index.status_code:
                self.client.take_response(octets, index, lines, agent, flow)
            else:
                if end.may_alias:
                    self.take_alias(octets, index, end)
                self.server.take_request(octets, index, lines, agent, flow, NULL)
        except Exception:
            self.core.counters[COUNT_INTERNAL_ERRORS] += 1
            logger.exception("a message could not be handled")
        return 0

    cdef int take_alias(self, const char *octets, const sip_index *index, StreamEnd end) except -1:
        """The far side offers its connection for requests to its sent-by port (RFC 5923 section 5)."""
        cdef sip_via via
        cdef sip_parameter parameter
        cdef size_t at, to = index.top_via.at + index.top_via.size
        if sip_parse_via(octets, index.top_via.at, to, SIP_LINES_INLINE, &via, &at):
            return 0
        at = via.parameters.at
        while sip_next_parameter(octets, to, &at, &parameter) == 1:
            if octets[parameter.name.at:parameter.name.at + parameter.name.size].lower() == b"alias":
                end.may_alias = False    # asked once for each connection
                port = via.port if via.port > 0 else default_port(index.top_via_transport)
                return self.core.connections.set_alias(end.flow, port)
        return 0
