"""The workers that share this engine's addresses: whose a message is, and letters between them."""

from libc.stdint cimport int64_t, uint8_t

from sipcore._connections cimport Local
from sipcore._core cimport Agent, Core
from sipcore._message cimport Request
from sipcore._server cimport Server
from sipcore._transactions cimport sip_key
from sipcore.addresses cimport host_address
from sipcore.scan cimport sip_index


cdef extern from "worker.h" nogil:
    enum:
        WORKER_COUNT
        WORKER_NONE
        WORKER_DIGITS
        LETTER_STEPS
        LETTER_MESSAGE
        LETTER_WRITE
        LETTER_CLOSE
        LETTER_ENDED
    ctypedef struct letter_head:
        uint8_t kind
        uint8_t writer
        uint8_t transport
        uint8_t steps
        uint8_t path[28]
        int64_t flow
        host_address bound
        host_address reached
        host_address remote


cdef class Group:
    cdef Core core
    cdef Server server
    cdef object post                     # post(worker, letter) -> whether it was taken; None: we are alone
    cdef bint is_reading                 # the message at hand came in a letter
    cdef bint asked_first                # predecessors are asked about every request that names nobody
    cdef bint by_call                    # requests outside of dialogs go to the worker that their Call-ID names
    cdef sip_key spread_key
    cdef tuple workers                   # those that share the addresses
    cdef tuple others                    # these and predecessors, but us: who may know a CANCEL's INVITE
    cdef tuple predecessors              # those that read the sockets before us
    cdef dict stand_ins                  # (worker, its flow) -> our flow that stands for it
    cdef dict origins                    # our flow -> (worker, its flow)
    cdef dict readers                    # our flow -> the workers that have a flow which stands for it
    cdef readonly int64_t handed_over    # messages that went to another worker
    cdef readonly int64_t taken_over     # messages that came from another worker
    cdef readonly int64_t refused        # messages that no other worker took, which stayed here

    # Whether a message is another worker's and was handed over.
    cdef bint takes(self, const char *octets, size_t size, const sip_index *index, Agent agent, int64_t flow) except -1
    # The same for one that came in a letter and may have to go on.
    cdef bint passes_on(self, bytes letter, const char *octets, const sip_index *index, Agent agent) except -1
    # Do what a letter says.  The flow of this engine that its message came in on, 0: it holds none, or none that can
    # be served here.  (flow, reason) of a connection that ended goes to `lost`.
    cdef int64_t open(self, bytes letter, list lost) except -1
    # A flow has ended: those hear of it that have one which stands for it.
    cdef int flow_ended(self, int64_t flow) except -1

    # private
    cdef int owner(self, const char *octets, const sip_index *index, Agent agent) noexcept
    cdef int spread(self, const char *octets, const sip_index *index) except -1
    cdef tuple path_of(self, const char *octets, const sip_index *index, Agent agent)
    cdef bint knows(self, const char *octets, const sip_index *index, Agent agent) noexcept
    cdef bint hand(self, const char *octets, size_t size, int64_t flow, tuple path) except -1
    cdef int64_t flow_of_letter(self, const letter_head *head) except -1
    cdef bint describe(self, letter_head *head, int64_t flow) except -1
    cdef Local local_at(self, int transport, const host_address *bound)
    cdef int64_t stand_in(self, int worker, int64_t flow, Local local, const host_address *own,
                          const host_address *remote) except -1
