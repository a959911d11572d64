"""The order of calls: datagrams and chunks in, batches, time."""

from libc.stdint cimport int64_t, uint64_t

from sipcore._client cimport Client
from sipcore._connections cimport Local
from sipcore._core cimport Agent, Core
from sipcore._framing cimport StreamFramer
from sipcore._server cimport Server
from sipcore.scan cimport sip_index, sip_line


cdef class Engine:
    cdef Core core
    cdef Server server
    cdef Client client
    cdef sip_index index                 # of the datagram at hand
    cdef sip_line *lines
    cdef size_t lines_room
    cdef dict framers                    # flow -> StreamFramer
    cdef dict timers                     # handle -> (callback, handle in the wheel)
    cdef int64_t last_timer
    cdef list lost                       # (flow, reason) of connections that ended inside the batch

    # batches
    cdef int enter(self, double now) except -1
    cdef int leave(self) except -1
    cdef int flush_out(self) except -1
    cdef int drop_flow(self, int64_t flow, str reason) except -1
    # octets in
    cdef int take(self, const char *octets, size_t size, Local local, int64_t flow) noexcept
    cdef bint is_welcome(self, const char *octets, size_t size, Agent agent, int64_t flow) except -1
    cdef int take_datagram(self, const char *octets, size_t size, Agent agent, int64_t flow) except -1
    cdef int take_message(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                          int64_t flow) except -1
    cdef int take_malformed(self, const char *octets, const sip_index *index, const sip_line *lines,
                            int64_t flow) except -1
    cdef StreamFramer framer_of(self, int64_t flow)
    cdef bint take_frames(self, StreamFramer framer, Agent agent, int64_t flow) except -1
    cdef int take_framed(self, const char *octets, StreamFramer framer, Agent agent, int64_t flow) noexcept
    cdef int scan(self, const char *octets, size_t size) except? -1
    # time
    cdef int expire_timer(self, uint64_t tag) except -1
    cdef int expire_queues(self) except -1
