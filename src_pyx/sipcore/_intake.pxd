"""Datagrams in: what each one is, and whose it is."""

from libc.stdint cimport int64_t

from sipcore._client cimport Client
from sipcore._connections cimport Local
from sipcore._core cimport Agent, Core
from sipcore._group cimport Group
from sipcore._server cimport Server
from sipcore._transactions cimport request_keys
from sipcore.scan cimport sip_index, sip_line


cdef extern from "engine.h" nogil:
    bint is_keep_alive(const char *octets, size_t size)
    ctypedef struct scanned_message:
        sip_index index
        sip_line *lines
        size_t lines_room
        int result
        request_keys keys


cdef class Intake:
    cdef Core core
    cdef Server server
    cdef Client client
    cdef Group group
    cdef scanned_message scanned[2]      # the datagram at hand, and the one behind it in the batch

    # Look at a datagram while the one before it is handled; `which`: 0 or 1, in turn.
    cdef int look_ahead(self, const char *octets, size_t size, int user_agent, int which) noexcept
    # One datagram that was looked at; whatever goes wrong in here stays in here.
    cdef int take(self, const char *octets, size_t size, Local local, int64_t flow, int which) noexcept
    # Index a message; `scanned.result` says how it went.
    cdef int scan(self, const char *octets, size_t size, scanned_message *scanned) noexcept
    # What the scan refused, of a datagram or a stream.
    cdef int take_malformed(self, const char *octets, const sip_index *index, const sip_line *lines,
                            int64_t flow) except -1
    # The beginning of a request of ours that the network could not deliver, as an ICMP error quotes it.
    cdef int take_unreachable(self, const char *octets, size_t size, Agent agent, int64_t flow, str reason) except -1

    # private
    cdef bint is_welcome(self, const char *octets, size_t size, Agent agent, int64_t flow) except -1
    cdef bint outline(self, const char *octets, size_t size, Agent agent, scanned_message *scanned) noexcept
    cdef int look_at(self, const char *octets, size_t size, Agent agent, scanned_message *scanned) noexcept
    cdef int take_datagram(self, const char *octets, size_t size, scanned_message *scanned, Agent agent,
                           int64_t flow) except -1
