"""The client side: requests out, responses in (RFC 3261 section 17.1)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from sipcore._core cimport Agent, Core
from sipcore._message cimport Request, Response
from sipcore._transactions cimport TransactionTable
from sipcore.scan cimport sip_index, sip_line, sip_span


cdef class Client:
    cdef Core core
    cdef TransactionTable table
    cdef int64_t max_transactions
    cdef sip_line *lines                 # of the request that an ACK or CANCEL is made of
    cdef size_t lines_room
    cdef sip_index index
    cdef dict cancel_lines               # handle -> header lines of a CANCEL that waits for a provisional

    cdef int64_t send_request(self, Request request, int64_t flow, object receiver) except -1
    cdef bint cancel(self, int64_t transaction, object headers) except -1
    cdef int forget(self, int64_t transaction) except -1
    # What the scan made of a response; pointers are good until Python code runs.
    cdef int take_response(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                           int64_t flow) except -1
    cdef int expire(self, uint32_t index) except -1
    cdef int lose_flow(self, uint32_t index, str reason) except -1
    # A request that the network says it could not deliver to the far side of `flow`; False: none of those that run.
    cdef bint take_unreachable(self, const char *octets, const sip_index *index, Agent agent, int64_t flow,
                               str reason) except -1

    cdef int64_t start(self, const char *octets, const sip_index *index, uint32_t method, sip_span token,
                       bytes whole, uint32_t user_agent, int64_t flow, object receiver) except -1
    cdef int watch_for_failures(self, int64_t flow) except -1
    cdef int stray(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                   int64_t flow) except -1
    cdef int end_waiting(self, uint32_t row_index) except -1
    cdef Response response_of(self, const char *octets, const sip_index *index, const sip_line *lines, int64_t flow)
    cdef int send_ack(self, uint32_t row_index, const char *octets, const sip_index *index,
                      const sip_line *lines) except -1
    cdef int send_cancel(self, uint32_t row_index) except -1
    cdef int scan_own(self, bytes request) except -1
    cdef bytes follow_up(self, bytes request, const char *method, const char *to, size_t to_size, bytes header_lines)
    cdef int tell(self, uint32_t row_index, uint32_t actions, str reason) except -1
