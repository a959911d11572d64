"""The server side: requests in, responses out (RFC 3261 section 17.2)."""

from libc.stdint cimport int64_t, uint32_t

from sipcore._core cimport Agent, Core
from sipcore._message cimport Request, Responder, Response
from sipcore._overload cimport Overload, Verdict
from sipcore._transactions cimport TransactionTable, request_keys, transaction_row
from sipcore.scan cimport sip_index, sip_line


cdef class Server(Responder):
    cdef Core core
    cdef TransactionTable table
    cdef Overload overload

    # Compute the keys of a request whose turn comes soon, and fetch what they will be looked up in.
    cdef void prepare(self, const char *octets, const sip_index *index, Agent agent, request_keys *keys) noexcept
    # The same for what the outline made of one; only the first key is computed.
    cdef void prepare_outline(self, const char *octets, const sip_index *index, Agent agent,
                              request_keys *keys) noexcept
    # What the scan made of a request; pointers are good until Python code runs.  `keys`: prepared, or NULL.
    cdef int take_request(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                          int64_t flow, const request_keys *keys) except -1
    # What the outline made of a plain request: True when it is dealt with, False when it is to be scanned.
    cdef bint take_outline(self, const char *octets, const sip_index *index, const sip_line *lines, int64_t flow,
                           const request_keys *keys) except -1
    cdef int refuse_incomplete(self, const char *octets, const sip_index *index, const sip_line *lines,
                               int64_t flow) except -1
    cdef int refuse_malformed(self, const char *octets, const sip_index *index, const sip_line *lines,
                              int64_t flow) except -1
    # A timer of the row has expired; its flow has ended.
    cdef int expire(self, uint32_t index) except -1
    cdef int lose_flow(self, uint32_t index) except -1
    cdef str to_tag(self, Request request)
    # A final response to a request that is not taken up, sent once.
    cdef int refuse_new(self, Request request, int status_code, object headers) except -1
    # A response that came from elsewhere, octet for octet.
    cdef int forward(self, Request request, Response response) except -1

    # kinds of requests
    cdef int take_ack(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                      int64_t flow) except -1
    cdef int take_cancel(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                         int64_t flow) except -1
    cdef int take_retransmission(self, uint32_t found, int64_t flow) except -1
    cdef int take_new(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                      int64_t flow, const request_keys *keys) except -1
    # parts
    cdef uint32_t find_accepted(self, const char *octets, const sip_index *index, Agent agent) noexcept
    cdef bint is_own_tag(self, const char *octets, const sip_index *index) noexcept
    cdef uint32_t hash_tag(self, const char *tag, size_t size) noexcept
    cdef uint32_t to_tag_hash(self, Request request) noexcept
    cdef void keep(self, transaction_row *row, Request request) noexcept
    cdef void let_go(self, transaction_row *row) noexcept
    cdef int refuse(self, Verdict verdict, const char *octets, const sip_index *index, const sip_line *lines,
                    int64_t flow) except -1
    cdef uint32_t new_row(self, const sip_index *index, Agent agent, int64_t flow, const request_keys *keys) except? 0
    cdef Request request_of(self, const char *octets, const sip_index *index, const sip_line *lines, int64_t flow,
                            int64_t transaction)
    cdef int deliver(self, Agent agent, Request request) except -1
    cdef int settle(self, Request request) except -1
    cdef bytes format_reply(self, Request request, int status_code, object reason_phrase, object headers, bytes body)
    cdef int conclude(self, Request request, int event, bytes octets, uint32_t tag_hash, bint forwarded) except -1
    cdef int send_once(self, Request request, bytes octets) except -1
    cdef int send_trying(self, uint32_t index) except -1
    cdef int tell_no_ack(self, uint32_t index) except -1
