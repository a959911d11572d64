"""The order of calls: datagrams and chunks in, batches, time."""

from libc.stdint cimport int64_t, uint64_t

from sipcore._client cimport Client
from sipcore._connections cimport Local
from sipcore._core cimport Agent, Core
from sipcore._framing cimport StreamFramer
from sipcore._group cimport Group
from sipcore._server cimport Server
from sipcore._transactions cimport request_keys
from sipcore.scan cimport sip_index, sip_line


cdef extern from "engine.h" nogil:
    ctypedef struct scanned_message:
        sip_index index
        sip_line *lines
        size_t lines_room
        int result
        request_keys keys
    bint is_keep_alive(const char *octets, size_t size)


cdef class Engine:
    cdef Core core
    cdef Server server
    cdef Client client
    cdef Group group                     # the workers that share our addresses
    cdef scanned_message scanned[2]      # the datagram at hand, and the one behind it in the batch
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
    cdef bint is_welcome(self, const char *octets, size_t size, Agent agent, int64_t flow) except -1
    cdef int look_ahead(self, const char *octets, size_t size, int user_agent, scanned_message *scanned) noexcept
    cdef int look_at(self, const char *octets, size_t size, Agent agent, scanned_message *scanned) noexcept
    cdef int take(self, const char *octets, size_t size, Local local, int64_t flow, scanned_message *scanned) noexcept
    cdef int take_letter(self, bytes letter, size_t size, int64_t flow) except -1
    cdef int take_datagram(self, const char *octets, const scanned_message *scanned, Agent agent,
                           int64_t flow) except -1
    cdef int take_malformed(self, const char *octets, const sip_index *index, const sip_line *lines,
                            int64_t flow) except -1
    cdef StreamFramer framer_of(self, int64_t flow)
    cdef bint take_frames(self, StreamFramer framer, Agent agent, int64_t flow) except -1
    cdef int take_framed(self, const char *octets, StreamFramer framer, Agent agent, int64_t flow) noexcept
    cdef int scan(self, const char *octets, size_t size, scanned_message *scanned) noexcept
    # time
    cdef int expire_timer(self, uint64_t tag) except -1
    cdef int expire_queues(self, int room) except -1
