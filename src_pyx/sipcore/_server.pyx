# distutils: sources = src_pyx/sipcore/c/scan.c
"""The server side of the engine: requests in, responses out (RFC 3261 sections 8.2 and 17.2).

Retransmissions, ACKs to refusals and CANCELs are dealt with here; only what the
application must see becomes a Request.

This room does not know sockets, datagrams, dialogs or what an application answers.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from sipcore._core cimport *
from sipcore._message cimport Message, Request, Responder, Response, format_response, message_from_scan
from sipcore._overload cimport ADMITTED, DROPPED, REFUSED, Overload, Verdict
from sipcore._transactions cimport *
from sipcore.scan cimport *

from sipcore.errors import UsageError


cdef extern from "names.h" nogil:
    enum: SIP_AUTHORIZATION, SIP_PROXY_AUTHORIZATION


cdef inline bint has_header(const sip_index *index, int id) noexcept:
    return index.present[id >> 6] >> (id & 63) & 1


cdef inline sip_span method_name(const sip_index *index) noexcept:
    """The name of a method that has no number; else nothing."""
    cdef sip_span none
    none.at = none.size = 0
    return index.method_token if index.method == SIP_METHOD_OTHER else none


cdef inline int event_of(int status_code) noexcept:
    if status_code < 200:
        return EVENT_TU_1XX
    return EVENT_TU_2XX if status_code < 300 else EVENT_TU_300_699


cdef inline bint lacks_headers(const sip_index *index) noexcept:
    """Whether one of Via, From, To, Call-ID and CSeq is missing (RFC 3261 section 8.1.1; Max-Forwards is forgiven)."""
    return not (
        index.top_via.size and index.first[<int>SIP_FROM] and index.first[<int>SIP_TO]
        and index.first[<int>SIP_CALL_ID] and index.first[<int>SIP_CSEQ]
    )


cdef inline bint is_first_challenge(const sip_index *index, int status_code) noexcept:
    """Whether this challenges an INVITE that came without any credentials."""
    return index.method == SIP_METHOD_INVITE and (status_code == 401 or status_code == 407) and not (
        has_header(index, SIP_AUTHORIZATION) or has_header(index, SIP_PROXY_AUTHORIZATION)
    )


@cython.final
cdef class Server(Responder):
    def __cinit__(self, Core core not None, bytes key not None, uint64_t wheel_tag):
        self.core = core
        self.table = TransactionTable(key, core.wheel, wheel_tag)
        self.overload = core.overload = Overload(self.table, core.connections)

    # requests in

    cdef void prepare(self, const char *octets, const sip_index *index, Agent agent, request_keys *keys) noexcept:
        cdef uint32_t method = index.method
        keys.is_ready = method != SIP_METHOD_ACK and method != SIP_METHOD_CANCEL
        if not keys.is_ready:
            return
        keys.key = request_key(self.table.key, agent.number, octets, index, method, method_name(index))
        hash_prefetch(&self.table.by_key, <uint32_t>keys.key.low)
        keys.has_shared = method == SIP_METHOD_INVITE or not (index.to_tag.size or agent.is_proxy)
        if keys.has_shared:
            keys.shared = make_dialog_key(self.table.key, agent.number, octets, index, method, method_name(index))
            hash_prefetch(&self.table.by_dialog, <uint32_t>keys.shared)

    cdef void prepare_outline(self, const char *octets, const sip_index *index, Agent agent,
                              request_keys *keys) noexcept:
        keys.is_ready = False
        keys.key = request_key(self.table.key, agent.number, octets, index, index.method, method_name(index))
        hash_prefetch(&self.table.by_key, <uint32_t>keys.key.low)

    cdef int take_request(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                          int64_t flow, const request_keys *keys) except -1:
        cdef request_keys own
        cdef uint32_t found
        if lacks_headers(index):
            return self.refuse_incomplete(octets, index, lines, flow)
        if index.method == SIP_METHOD_ACK:
            return self.take_ack(octets, index, lines, agent, flow)
        if index.method == SIP_METHOD_CANCEL:
            return self.take_cancel(octets, index, lines, agent, flow)
        if agent.is_stateless(octets, index):
            self.core.counters[COUNT_REQUESTS] += 1
            return self.deliver(agent, self.request_of(octets, index, lines, flow, 0))
        if keys == NULL or not keys.is_ready:
            self.prepare(octets, index, agent, &own)
            keys = &own
        found = self.table.find(keys.key)
        if found != TRANSACTION_NONE:
            return self.take_retransmission(found, flow)
        return self.take_new(octets, index, lines, agent, flow, keys)

    cdef int take_retransmission(self, uint32_t found, int64_t flow) except -1:
        """Absorb it; on a new connection it says where responses go since the old one was lost."""
        cdef transaction_row *row = self.table.row(found)
        self.core.counters[COUNT_REQUEST_RETRANSMISSIONS] += 1
        if row.flow != flow and self.core.connections.flow_local(row.flow) is None:
            row.flow = flow
            self.table.note_flow(found)
        if self.table.step(found, EVENT_RECV_REQUEST, self.core.now_us) & SEND_RESPONSE:
            row = self.table.row(found)
            if row.octets != NULL:
                self.core.counters[COUNT_RESPONSE_RETRANSMISSIONS] += 1
                self.core.outbox.send(row.flow, <bytes>row.octets)
        return 0

    cdef bint take_outline(self, const char *octets, const sip_index *index, const sip_line *lines, int64_t flow,
                           const request_keys *keys) except -1:
        cdef uint32_t found = self.table.find(keys.key)
        cdef Verdict verdict
        if found != TRANSACTION_NONE:
            self.take_retransmission(found, flow)
            return True
        verdict = self.overload.judge(False, flow, self.core.now_us)
        if verdict == ADMITTED:
            return False
        self.refuse(verdict, octets, index, lines, flow)
        return True

    cdef int refuse(self, Verdict verdict, const char *octets, const sip_index *index, const sip_line *lines,
                    int64_t flow) except -1:
        """503 with Retry-After, of which nothing is remembered (FAULTS 47), or not even that."""
        if verdict == DROPPED and self.core.connections.is_datagram_flow(flow):
            return 0
        self.core.counters[COUNT_REFUSED] += 1
        self.core.answer(octets, index, lines, 503, self.overload.retry_after_line(), flow)
        return 0

    cdef int take_new(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                      int64_t flow, const request_keys *keys) except -1:
        cdef Core core = self.core
        cdef bint in_dialog = index.to_tag.size != 0
        cdef Verdict verdict = self.overload.judge(in_dialog, flow, core.now_us)
        cdef uint32_t new
        if verdict != ADMITTED:
            return self.refuse(verdict, octets, index, lines, flow)
        if keys.has_shared and not in_dialog and not agent.is_proxy and self.table.has_dialog(keys.shared):
            core.counters[COUNT_MERGED] += 1
            core.answer(octets, index, lines, 482, None, flow)
            return 0
        new = self.new_row(index, agent, flow, keys)
        core.counters[COUNT_REQUESTS] += 1
        self.table.transit(new, EVENT_RECV_REQUEST, core.now_us)
        cdef Request request = self.request_of(octets, index, lines, flow, self.table.handle_of(new))
        self.deliver(agent, request)
        return self.settle(request)

    cdef uint32_t new_row(self, const sip_index *index, Agent agent, int64_t flow, const request_keys *keys) except? 0:
        """A row for a request that was just judged; none is left behind without memory."""
        cdef uint32_t new = self.table.add(
            INVITE_SERVER if index.method == SIP_METHOD_INVITE else NON_INVITE_SERVER, keys.key, agent.number, flow,
            not self.core.connections.is_datagram_flow(flow))
        if new == TRANSACTION_NONE:
            raise MemoryError
        try:
            self.table.charge(new, self.overload.source, self.overload.prefix)
            self.table.note_flow(new)
            if keys.has_shared:
                self.table.add_to_dialogs(new, keys.shared)
        except MemoryError:
            self.table.remove(new)
            raise
        return new

    cdef int take_ack(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                      int64_t flow) except -1:
        """Absorb the ACK to a refusal and the repeated ACK to a 2xx; the first ACK to a 2xx goes up.

        One that matches nothing goes up when it belongs to a dialog, for the sake of proxies, unless its To tag is
        the one that its own branch gives: that acknowledges a refusal which no transaction remembers.
        """
        cdef transaction_key key = request_key(self.table.key, agent.number, octets, index, SIP_METHOD_INVITE,
                                               method_name(index))
        cdef uint32_t found = self.table.find(key)
        cdef uint32_t actions
        cdef transaction_row *row
        if found == TRANSACTION_NONE or self.table.row(found).state in (STATE_ACCEPTED, STATE_ACKNOWLEDGED):
            found = self.find_accepted(octets, index, agent)
        if found == TRANSACTION_NONE:
            if self.is_own_tag(octets, index):
                self.core.counters[COUNT_ACKS_ABSORBED] += 1
                return 0
            self.core.counters[COUNT_STRAY_ACKS] += 1
            if index.to_tag.size:
                self.deliver(agent, self.request_of(octets, index, lines, flow, 0))
            return 0
        row = self.table.row(found)
        actions = self.table.step(found, EVENT_RECV_ACK, self.core.now_us)
        if actions & PASS_TO_TU:
            self.let_go(row)
        elif not row.flags & TRANSACTION_FORWARDED:
            self.core.counters[COUNT_ACKS_ABSORBED] += 1
            if actions and row.state == STATE_TERMINATED:
                self.table.remove(found)
            return 0
        return self.deliver(agent, self.request_of(octets, index, lines, flow, 0))

    cdef int take_cancel(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                         int64_t flow) except -1:
        """RFC 3261 section 9.2: 200 or 481 without a transaction of its own; the TU hears of it once, if in time."""
        cdef transaction_key key = request_key(self.table.key, agent.number, octets, index, SIP_METHOD_INVITE,
                                               method_name(index))
        cdef uint32_t found = self.table.find(key)
        cdef transaction_row *row
        self.core.counters[COUNT_CANCELS] += 1
        if found == TRANSACTION_NONE or not self.core.is_same_host(self.table.row(found).flow, flow):
            self.core.answer(octets, index, lines, 481, None, flow)
            return 0
        self.core.answer(octets, index, lines, 200, None, flow)
        row = self.table.row(found)
        if row.state != STATE_PROCEEDING or row.flags & TRANSACTION_CANCELLED or row.owner == NULL:
            return 0
        row.flags |= TRANSACTION_CANCELLED
        self.core.call(agent.events.on_cancel, <object>row.owner)
        return 0

    cdef int refuse_incomplete(self, const char *octets, const sip_index *index, const sip_line *lines,
                               int64_t flow) except -1:
        """400 to a request without a header that every request has; nothing where no Via says where to."""
        self.core.counters[COUNT_MALFORMED_REQUESTS] += 1
        if index.top_via.size and index.method != SIP_METHOD_ACK:
            self.core.answer(octets, index, lines, 400, None, flow)
        return 0

    cdef int refuse_malformed(self, const char *octets, const sip_index *index, const sip_line *lines,
                              int64_t flow) except -1:
        """Answer what the scan refused, if it can be answered (RFC 3261 section 8.2.6 copies five headers)."""
        self.core.counters[COUNT_MALFORMED_REQUESTS] += 1
        if index.method == SIP_METHOD_ACK or not (
            index.first[<int>SIP_FROM] and index.first[<int>SIP_TO] and index.first[<int>SIP_CALL_ID]
            and index.first[<int>SIP_CSEQ]
        ):
            return 0
        self.core.answer(octets, index, lines, sip_fault_status(index.fault), None, flow)
        return 0

    # the parts of it

    cdef uint32_t find_accepted(self, const char *octets, const sip_index *index, Agent agent) noexcept:
        """The INVITE transaction whose 2xx this ACK acknowledges: same From tag, Call-ID, CSeq number, To tag."""
        cdef sip_span none
        none.at = none.size = 0
        cdef uint64_t shared = make_dialog_key(self.table.key, agent.number, octets, index, SIP_METHOD_INVITE, none)
        cdef uint32_t tag_hash = self.hash_tag(octets + index.to_tag.at, index.to_tag.size)
        cdef hash_cursor cursor = start_of_search()
        cdef uint32_t at
        cdef transaction_row *row
        while (at := self.table.next_in_dialog(shared, &cursor)) != TRANSACTION_NONE:
            row = self.table.row(at)
            if row.state in (STATE_ACCEPTED, STATE_ACKNOWLEDGED) and (
                row.flags & TRANSACTION_FORWARDED or row.to_tag_hash == tag_hash
            ):
                return at
        return TRANSACTION_NONE

    cdef bint is_own_tag(self, const char *octets, const sip_index *index) noexcept:
        """Whether the To tag is what a response to this very branch carries (RFC 3261 section 8.2.7)."""
        return index.to_tag.size == 16 and memcmp(octets + index.to_tag.at, self.core.tag_of(octets, index), 16) == 0

    cdef uint32_t hash_tag(self, const char *tag, size_t size) noexcept:
        return <uint32_t>siphash13(self.table.key, tag, size)

    cdef Request request_of(self, const char *octets, const sip_index *index, const sip_line *lines, int64_t flow,
                            int64_t transaction):
        cdef Request request = <Request>message_from_scan(octets, index, lines)
        request.flow = flow
        request.transaction = transaction
        request.responder = self
        return request

    cdef int deliver(self, Agent agent, Request request) except -1:
        """Hand a request up; a handler that fails is answered for."""
        if self.core.call(agent.on_request, request) or request.index.method == SIP_METHOD_ACK:
            return 0
        return self.respond(request, 500, None, (), b"")

    cdef int settle(self, Request request) except -1:
        """The handler has returned: what is still unanswered starts its timers and remembers the request."""
        cdef uint32_t index = self.table.index_of(request.transaction)
        cdef transaction_row *row
        if index == TRANSACTION_NONE:
            return 0
        row = self.table.row(index)
        if row.state in (STATE_TRYING, STATE_PROCEEDING):
            self.keep(row, request)
            self.table.arm(index)
        return 0

    cdef void keep(self, transaction_row *row, Request request) noexcept:
        if row.owner == NULL:
            Py_INCREF(request)
            row.owner = <void *>request

    cdef void let_go(self, transaction_row *row) noexcept:
        cdef PyObject *owner = <PyObject *>row.owner
        row.owner = NULL
        Py_XDECREF(owner)

    # responses out

    cdef int respond(self, Request request, int status_code, object reason_phrase, object headers,
                     bytes body) except -1:
        """What `Request.reply` calls.  A reply that comes too late, or a second final one, is counted and ignored."""
        cdef uint32_t index
        cdef int event
        cdef bytes octets
        if not 100 <= status_code <= 699:
            raise UsageError(f"not a status code: {status_code}")
        if request.index.method == SIP_METHOD_ACK:
            raise UsageError("an ACK has no response")
        self.core.enter_quietly()
        if request.transaction == 0:
            self.core.counters[COUNT_REPLIES] += 1
            self.core.outbox.send(
                request.flow, self.format_reply(request, status_code, reason_phrase, headers, body)
            )
            return 0
        event = event_of(status_code)
        index = self.table.index_of(request.transaction)
        if index == TRANSACTION_NONE or not self.table.heeds(index, event):
            self.core.counters[COUNT_LATE_REPLIES] += 1
            return 0
        octets = self.format_reply(request, status_code, reason_phrase, headers, body)
        if is_first_challenge(&request.index, status_code):
            return self.send_once(request, octets)
        return self.conclude(request, event, octets, self.to_tag_hash(request) if event == EVENT_TU_2XX else 0, False)

    cdef int refuse_new(self, Request request, int status_code, object headers) except -1:
        """A refusal that nobody was asked for: of a request that heard nothing yet, nothing is remembered."""
        cdef uint32_t index = self.table.index_of(request.transaction)
        if index == TRANSACTION_NONE or self.table.row(index).octets != NULL:
            return self.respond(request, status_code, None, headers, b"")
        self.core.enter_quietly()
        return self.send_once(request, self.format_reply(request, status_code, None, headers, b""))

    cdef int send_once(self, Request request, bytes octets) except -1:
        """Send and forget: a transaction would repeat the refusal to a victim that never asked (FAULTS 22).

        RFC 3261 section 8.2.7; a retransmitted request is refused again.
        """
        cdef uint32_t index = self.table.index_of(request.transaction)
        if index != TRANSACTION_NONE:
            self.table.remove(index)
            self.core.counters[COUNT_REPLIES] += 1
            self.core.outbox.send(request.flow, octets)
        return 0

    cdef int forward(self, Request request, Response response) except -1:
        cdef int event = event_of(response.index.status_code)
        cdef uint32_t index = self.table.index_of(request.transaction)
        self.core.enter_quietly()
        if request.transaction == 0:
            self.core.outbox.send(request.flow, response.octets)
            return 0
        if index == TRANSACTION_NONE or not self.table.heeds(index, event):
            self.core.counters[COUNT_LATE_REPLIES] += 1
            return 0
        return self.conclude(request, event, response.octets, 0, True)

    cdef bytes format_reply(self, Request request, int status_code, object reason_phrase, object headers, bytes body):
        return format_response(request, status_code, reason_phrase, headers, body, self.core.tag_of_request(request),
                               self.core.source_of(PyBytes_AS_STRING(request.octets), &request.index, request.flow))

    cdef uint32_t to_tag_hash(self, Request request) noexcept:
        """What `find_accepted` will compare the To tag of the ACK with."""
        cdef const char *octets = PyBytes_AS_STRING(request.octets)
        if request.index.to_tag.size:
            return self.hash_tag(octets + request.index.to_tag.at, request.index.to_tag.size)
        return self.hash_tag(self.core.tag_of(octets, &request.index), 16)

    cdef int conclude(self, Request request, int event, bytes octets, uint32_t tag_hash, bint forwarded) except -1:
        """Move the transaction by a response of the TU, keep its octets, send them."""
        cdef uint32_t index = self.table.index_of(request.transaction)
        cdef transaction_row *row
        cdef PyObject *former
        cdef int64_t flow
        if index == TRANSACTION_NONE or not self.table.heeds(index, event):
            return 0
        self.core.counters[COUNT_REPLIES] += 1
        self.table.transit(index, event, self.core.now_us)
        row = self.table.row(index)
        former = <PyObject *>row.octets
        Py_INCREF(octets)
        row.octets = <void *>octets
        flow = row.flow
        if row.state == STATE_ACCEPTED:
            self.keep(row, request)
            row.to_tag_hash = tag_hash
            if forwarded:
                row.flags |= TRANSACTION_FORWARDED
                row.interval_ms = 0
        elif event != EVENT_TU_1XX:
            self.let_go(row)
        if row.state == STATE_TERMINATED:
            self.table.remove(index)
        else:
            self.table.arm(index)
        Py_XDECREF(former)
        self.core.outbox.send(flow, octets)
        return 0

    cdef str to_tag(self, Request request):
        cdef const char *octets = PyBytes_AS_STRING(request.octets)
        if request.index.to_tag.size:
            return octets[request.index.to_tag.at:request.index.to_tag.at + request.index.to_tag.size].decode(
                "utf-8", "surrogateescape")
        return self.core.tag_of_request(request)

    # time and loss

    cdef int expire(self, uint32_t index) except -1:
        cdef int event = self.table.event_due(index, self.core.now_us)
        cdef uint32_t actions
        cdef transaction_row *row
        if event < 0:
            return self.table.arm(index)
        actions = self.table.transit(index, event, self.core.now_us)
        row = self.table.row(index)
        if actions & SEND_RESPONSE and row.octets != NULL:
            self.core.counters[COUNT_RESPONSE_RETRANSMISSIONS] += 1
            self.core.outbox.send(row.flow, <bytes>row.octets)
        if actions & SEND_TRYING and row.owner != NULL:
            self.send_trying(index)
        if actions & INFORM_NO_ACK:
            return self.tell_no_ack(index)
        if row.state == STATE_COMPLETED:
            self.let_go(row)
        if row.state == STATE_TERMINATED:
            self.table.remove(index)
            return 0
        return self.table.arm(index)

    cdef int send_trying(self, uint32_t index) except -1:
        """100, remembered as the last response (RFC 3261 section 17.2.1, RFC 4320 section 4.1)."""
        cdef transaction_row *row = self.table.row(index)
        cdef Request request = <Request>row.owner
        cdef bytes octets
        cdef size_t size = self.core.write_answer(
            PyBytes_AS_STRING(request.octets), &request.index, request.lines, 100, None, row.flow
        )
        if size:
            octets = PyBytes_FromStringAndSize(self.core.scratch, size)
            self.core.outbox.send(row.flow, octets)
            if row.octets == NULL:
                Py_INCREF(octets)
                row.octets = <void *>octets
        return 0

    cdef int tell_no_ack(self, uint32_t index) except -1:
        """The 2xx was never acknowledged: the transaction is over, the TU ends the call."""
        cdef transaction_row *row = self.table.row(index)
        cdef object request = <object>row.owner if row.owner != NULL else None
        cdef Agent agent = self.core.agent(row.user_agent)
        cdef bint forwarded = row.flags & TRANSACTION_FORWARDED
        self.table.remove(index)
        self.core.counters[COUNT_MISSING_ACKS] += not forwarded
        if agent is not None and request is not None and not forwarded:
            self.core.call(agent.events.on_ack_timeout, request)
        return 0

    cdef int lose_flow(self, uint32_t index) except -1:
        self.table.step(index, EVENT_TRANSPORT_ERROR, self.core.now_us)
        if self.table.row(index).state == STATE_TERMINATED:
            self.table.remove(index)
        return 0
