# distutils: sources = src_pyx/sipcore/c/scan.c
"""The client side of the engine: requests out, responses in (RFC 3261 sections 8.1, 9.1 and 17.1).

Retransmissions of requests, ACKs to refusals and the wait of a CANCEL for its
provisional response are dealt with here.

This room does not know sockets, datagrams, dialogs, or who waits for a response.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc

from sipcore._batch cimport DatagramSocket
from sipcore._core cimport *
from sipcore._connections cimport Local
from sipcore._message cimport Message, Request, Response, message_from_scan
from sipcore._transactions cimport *
from sipcore.scan cimport *

from sipcore import machines
from sipcore.errors import TransportError, UsageError


cdef extern from "follow.h" nogil:
    ctypedef struct sip_follow_up:
        const char *method
        const char *to
        size_t to_size
        const char *header_lines
        size_t header_lines_size
    size_t sip_follow_up_room(const sip_index *invite, const sip_follow_up *follow_up)
    size_t sip_write_follow_up(const char *octets, const sip_index *invite, const sip_line *lines,
                               const sip_follow_up *follow_up, char *out)


cdef inline sip_span no_span() noexcept:
    cdef sip_span none
    none.at = none.size = 0
    return none


cdef inline int event_of(int status_code) noexcept:
    if status_code < 200:
        return EVENT_RECV_1XX
    return EVENT_RECV_2XX if status_code < 300 else EVENT_RECV_300_699


cdef inline void set_owner(transaction_row *row, object owner) noexcept:
    cdef PyObject *former = <PyObject *>row.owner
    if owner is None:
        row.owner = NULL
    else:
        Py_INCREF(owner)
        row.owner = <void *>owner
    Py_XDECREF(former)


cdef inline void set_octets(transaction_row *row, bytes octets) noexcept:
    cdef PyObject *former = <PyObject *>row.octets
    if octets is None:
        row.octets = NULL
    else:
        Py_INCREF(octets)
        row.octets = <void *>octets
    Py_XDECREF(former)


cdef bytes header_lines(headers):
    """Whole header lines of pairs of str, None for none; UsageError for what would end a line."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if "\0" in lines or lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise UsageError("a header holds CR, LF or NUL")
    return lines.encode("utf-8", "surrogateescape") or None


# What the stack builds is not held to the limits of what comes in.
cdef sip_limits own_limits = sip_default_limits
own_limits.line_count = 0xffff
own_limits.line_size = SIP_HEAD_MAX
own_limits.head_size = SIP_HEAD_MAX
own_limits.message_size = 0x7fffffff
own_limits.parameter_count = 0xffff
cdef int64_t timer_b_us = machines.TIMERS[machines.START_B].first_ms * 1000


@cython.final
cdef class Client:
    def __cinit__(self, Core core not None, bytes key not None, uint64_t wheel_tag):
        self.core = core
        self.table = TransactionTable(key, core.wheel, wheel_tag)
        self.max_transactions = 1 << 20
        self.cancel_lines = {}

    def __dealloc__(self):
        free(self.lines)

    # requests out

    cdef int64_t send_request(self, Request request, int64_t flow, object receiver) except -1:
        cdef Local local = self.core.connections.flow_local(flow)
        cdef const sip_index *index = &request.index
        cdef const char *octets = PyBytes_AS_STRING(request.octets)
        if local is None:
            raise TransportError("the flow has ended")
        if index.method == SIP_METHOD_ACK:
            raise UsageError("an ACK is no transaction: use send")
        if index.branch.size == 0:
            raise UsageError("the request has no branch in its top Via")
        self.core.enter_quietly()
        return self.start(octets, index, index.method,
                          index.method_token if index.method == SIP_METHOD_OTHER else no_span(),
                          request.octets, local.user_agent, flow, receiver)

    cdef int64_t start(self, const char *octets, const sip_index *index, uint32_t method, sip_span token,
                       bytes whole, uint32_t user_agent, int64_t flow, object receiver) except -1:
        """A new transaction for the request `whole`; its handle."""
        cdef transaction_key key = response_key(self.table.key, user_agent, octets, index, method, token)
        cdef uint32_t new
        cdef int64_t handle
        if self.table.find(key) != TRANSACTION_NONE:
            raise UsageError("the branch of the request is in use")
        if self.table.pool.used >= self.max_transactions:
            raise TransportError("too many client transactions")
        new = self.table.add(INVITE_CLIENT if method == SIP_METHOD_INVITE else NON_INVITE_CLIENT, key, user_agent, flow,
                             not self.core.connections.is_datagram_flow(flow))
        if new == TRANSACTION_NONE:
            raise MemoryError
        handle = self.table.handle_of(new)
        self.table.note_flow(new)
        set_octets(self.table.row(new), whole)
        set_owner(self.table.row(new), receiver)
        self.core.counters[COUNT_REQUESTS_SENT] += 1
        self.watch_for_failures(flow)
        self.table.step(new, EVENT_TU_REQUEST, self.core.now_us)
        self.core.outbox.send(flow, whole)
        return handle

    cdef int watch_for_failures(self, int64_t flow) except -1:
        """Whoever sends requests wants to hear of those that were not delivered; a server alone does not."""
        cdef Local local = self.core.connections.flow_local(flow)
        if local is not None and type(local.sender) is DatagramSocket and not local.is_watched:
            local.is_watched = True
            (<DatagramSocket>local.sender).wants_reports = True
        return 0

    cdef bint cancel(self, int64_t transaction, object headers) except -1:
        cdef bytes lines = header_lines(headers)
        cdef uint32_t at = self.table.index_of(transaction)
        cdef transaction_row *row
        if at == TRANSACTION_NONE:
            return False
        row = self.table.row(at)
        if row.machine != INVITE_CLIENT or row.state not in (STATE_CALLING, STATE_PROCEEDING):
            return False
        if row.flags & (TRANSACTION_CANCELLED | TRANSACTION_CANCEL_WANTED):
            return True
        self.core.enter_quietly()
        if lines is not None:
            self.cancel_lines[transaction] = lines
        row.flags |= TRANSACTION_CANCEL_WANTED
        if row.state == STATE_PROCEEDING:
            self.send_cancel(at)
        return True

    cdef int send_cancel(self, uint32_t row_index) except -1:
        """CANCEL the row's INVITE on its own branch, and wait 64*T1 for the final response (RFC 3261 section 9.1)."""
        cdef transaction_row *row = self.table.row(row_index)
        cdef bytes request = <bytes>row.octets
        cdef bytes lines = self.cancel_lines.pop(self.table.handle_of(row_index), None)
        cdef sip_line *to
        cdef bytes octets
        row.flags = (row.flags & ~TRANSACTION_CANCEL_WANTED) | TRANSACTION_CANCELLED
        self.scan_own(request)
        to = self.lines + self.index.first[<int>SIP_TO] - 1
        octets = self.follow_up(request, b"CANCEL", PyBytes_AS_STRING(request) + to.value_at, to.value_size, lines)
        self.table.start_deadline(row_index, EVENT_TIMER_B, self.core.now_us + timer_b_us)
        self.start(PyBytes_AS_STRING(request), &self.index, SIP_METHOD_CANCEL, no_span(), octets, row.user_agent,
                   row.flow, None)
        return 0

    cdef int forget(self, int64_t transaction) except -1:
        cdef uint32_t at = self.table.index_of(transaction)
        if at != TRANSACTION_NONE:
            set_owner(self.table.row(at), None)
        return 0

    # responses in

    cdef int take_response(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                           int64_t flow) except -1:
        cdef sip_span token = index.cseq_method_token if index.cseq_method == SIP_METHOD_OTHER else no_span()
        cdef uint32_t found = self.table.find(
            response_key(self.table.key, agent.number, octets, index, index.cseq_method, token)
        )
        cdef transaction_row *row
        cdef uint32_t actions
        cdef object receiver = None
        cdef int64_t handle
        if found == TRANSACTION_NONE:
            return self.stray(octets, index, lines, agent, flow)
        self.core.counters[COUNT_RESPONSES] += 1
        actions = self.table.step(found, event_of(index.status_code), self.core.now_us)
        row = self.table.row(found)
        if actions & SEND_ACK:
            self.send_ack(found, octets, index, lines)
            row = self.table.row(found)
        if actions & PASS_TO_TU and row.owner != NULL:
            receiver = <object>row.owner
        if index.status_code >= 200:
            self.end_waiting(found)
        elif row.flags & TRANSACTION_CANCEL_WANTED and row.state == STATE_PROCEEDING:
            self.send_cancel(found)
        row = self.table.row(found)
        if row.state == STATE_TERMINATED:
            self.table.remove(found)
        if receiver is not None:
            self.core.call(receiver.on_response, self.response_of(octets, index, lines, flow))
        return 0

    cdef int end_waiting(self, uint32_t row_index) except -1:
        """A final response came: only the Accepted state has more to hear, and only a refusal has octets to repeat."""
        cdef transaction_row *row = self.table.row(row_index)
        if row.flags & TRANSACTION_CANCEL_WANTED:
            row.flags &= ~TRANSACTION_CANCEL_WANTED
            self.cancel_lines.pop(self.table.handle_of(row_index), None)
        if row.state == STATE_ACCEPTED:
            set_octets(row, None)
            return 0
        if row.machine == NON_INVITE_CLIENT:
            set_octets(row, None)
        set_owner(row, None)
        return 0

    cdef int stray(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                   int64_t flow) except -1:
        self.core.counters[COUNT_STRAY_RESPONSES] += 1
        if index.cseq_method == SIP_METHOD_INVITE and 200 <= index.status_code < 300:
            self.core.call(agent.events.on_stray_response, self.response_of(octets, index, lines, flow))
        return 0

    cdef Response response_of(self, const char *octets, const sip_index *index, const sip_line *lines, int64_t flow):
        cdef Response response = <Response>message_from_scan(octets, index, lines)
        response.flow = flow
        return response

    cdef int send_ack(self, uint32_t row_index, const char *octets, const sip_index *index,
                      const sip_line *lines) except -1:
        """ACK a refusal; the row keeps the ACK in place of the INVITE and repeats it (RFC 3261 section 17.1.1.3)."""
        cdef transaction_row *row = self.table.row(row_index)
        cdef bytes kept = <bytes>row.octets
        cdef const sip_line *to = lines + index.first[<int>SIP_TO] - 1
        if PyBytes_AS_STRING(kept)[0] != c"A":
            self.scan_own(kept)
            kept = self.follow_up(kept, b"ACK", octets + to.value_at, to.value_size, None)
            set_octets(self.table.row(row_index), kept)
        self.core.outbox.send(self.table.row(row_index).flow, kept)
        return 0

    # requests made of the INVITE

    cdef int scan_own(self, bytes request) except -1:
        """Index a request of ours again, into `index` and `lines`."""
        cdef const char *octets = PyBytes_AS_STRING(request)
        cdef int result = sip_scan(octets, PyBytes_GET_SIZE(request), &own_limits, self.lines, self.lines_room, &self.index)
        cdef sip_line *lines
        if result == SIP_MORE_LINES:
            lines = <sip_line *>realloc(self.lines, self.index.line_count * sizeof(sip_line))
            if lines == NULL:
                raise MemoryError
            self.lines, self.lines_room = lines, self.index.line_count
            result = sip_scan(octets, PyBytes_GET_SIZE(request), &own_limits, self.lines, self.lines_room, &self.index)
        if result != SIP_OK:
            raise UsageError("the request cannot be read again")
        return 0

    cdef bytes follow_up(self, bytes request, const char *method, const char *to, size_t to_size, bytes header_lines):
        cdef sip_follow_up follow_up
        cdef size_t size
        follow_up.method = method
        follow_up.to = to
        follow_up.to_size = to_size
        follow_up.header_lines = PyBytes_AS_STRING(header_lines) if header_lines is not None else NULL
        follow_up.header_lines_size = PyBytes_GET_SIZE(header_lines) if header_lines is not None else 0
        self.core.reserve(sip_follow_up_room(&self.index, &follow_up))
        size = sip_write_follow_up(PyBytes_AS_STRING(request), &self.index, self.lines, &follow_up, self.core.scratch)
        return PyBytes_FromStringAndSize(self.core.scratch, size)

    # time and loss

    cdef int expire(self, uint32_t index) except -1:
        cdef int event = self.table.event_due(index, self.core.now_us)
        cdef uint32_t actions
        cdef transaction_row *row
        if event < 0:
            return self.table.arm(index)
        actions = self.table.transit(index, event, self.core.now_us)
        row = self.table.row(index)
        if actions & SEND_REQUEST and row.octets != NULL:
            self.core.counters[COUNT_REQUEST_REPEATS] += 1
            self.core.outbox.send(row.flow, <bytes>row.octets)
        if row.state != STATE_TERMINATED:
            return self.table.arm(index)
        return self.tell(index, actions, None)

    cdef int lose_flow(self, uint32_t index, str reason) except -1:
        cdef uint32_t actions = self.table.step(index, EVENT_TRANSPORT_ERROR, self.core.now_us)
        if actions and self.table.row(index).state == STATE_TERMINATED:
            return self.tell(index, actions, reason)
        return 0

    cdef bint take_unreachable(self, const char *octets, const sip_index *index, Agent agent, int64_t flow,
                               str reason) except -1:
        """RFC 3261 sections 8.1.3.1 and 18.4.  Its branch names the transaction, which nobody off the path can guess;
        one that has heard from the far side, and an error about another address, are left alone."""
        cdef sip_span token = index.method_token if index.method == SIP_METHOD_OTHER else no_span()
        cdef uint32_t found
        if index.branch.size == 0:
            return False
        found = self.table.find(response_key(self.table.key, agent.number, octets, index, index.method, token))
        if found == TRANSACTION_NONE or not self.core.is_same_remote(self.table.row(found).flow, flow):
            return False
        if self.table.row(found).state not in (STATE_CALLING, STATE_TRYING):
            return False
        self.lose_flow(found, reason)
        return True

    cdef int tell(self, uint32_t row_index, uint32_t actions, str reason) except -1:
        """The transaction is over: remove it, then tell its receiver how it ended."""
        cdef transaction_row *row = self.table.row(row_index)
        cdef object receiver = <object>row.owner if row.owner != NULL else None
        if row.flags & TRANSACTION_CANCEL_WANTED:
            self.cancel_lines.pop(self.table.handle_of(row_index), None)
        self.table.remove(row_index)
        if actions & INFORM_TIMEOUT:
            self.core.counters[COUNT_TIMEOUTS] += 1
            if receiver is not None:
                self.core.run(receiver.on_timeout)
        elif actions & INFORM_TRANSPORT_ERROR:
            self.core.counters[COUNT_TRANSPORT_ERRORS] += 1
            if receiver is not None:
                self.core.call(receiver.on_transport_error, reason)
        return 0
