"""The order of calls: datagrams and chunks in, batches, time."""

from libc.stdint cimport int64_t, uint64_t

from sipcore._batch cimport DatagramSocket
from sipcore._client cimport Client
from sipcore._connections cimport Local, host_address
from sipcore._core cimport Agent, Core
from sipcore._group cimport Group
from sipcore._intake cimport Intake
from sipcore._server cimport Server
from sipcore._streams cimport Streams


cdef class Engine:
    cdef Core core
    cdef Server server
    cdef Client client
    cdef Group group                     # the workers that share our addresses
    cdef Intake intake
    cdef Streams streams
    cdef dict timers                     # handle -> (callback, handle in the wheel)
    cdef int64_t last_timer
    cdef list lost                       # (flow, reason) of connections that ended inside the batch

    # batches
    cdef int enter(self, double now) except -1
    cdef int leave(self) except -1
    cdef int flush_out(self) except -1
    cdef int drop_flow(self, int64_t flow, str reason) except -1
    # octets in
    cdef int take_letter(self, bytes letter, size_t size, int64_t flow) except -1
    cdef int take_failures(self, DatagramSocket socket, Local bound) except -1
    cdef int take_failure(self, const char *octets, size_t size, Local bound, const host_address *remote,
                          str reason) except -1
    # time
    cdef int expire_timer(self, uint64_t tag) except -1
    cdef int expire_queues(self, int room) except -1
