# distutils: sources = src_pyx/sipcore/c/scan.c
"""The engine: octets, time and flows in; responses, requests and callbacks out, in the order of calls.

It reads no clock and opens no socket.  Everything runs in batches: callbacks are
called inside, what they send leaves at the end.  No pointer into a table or into
received octets is used after a call into Python.

This room knows no rules: machines are in `_transactions`, what a request or a
response means to them in `_server` and `_client`, connections are read in `_streams`.
"""

import logging
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from sipcore._batch cimport DatagramSocket, StreamSocket, datagram_failure, datagram_item, datagram_slot
from sipcore._connections cimport Local, address_parse, host_address
from sipcore._core cimport *
from sipcore._core import COUNTER_NAMES as _COUNTER_NAMES, derive_key
from sipcore._group cimport Group, letter_head
from sipcore._locals cimport format_sent_by, may_talk_to
from sipcore._intake cimport Intake, scanned_message
from sipcore._message cimport Request, Response
from sipcore._outbox cimport StreamEnd
from sipcore._streams cimport READ_KINDS, Streams
from sipcore._transactions cimport TRANSACTION_NONE, TransactionTable
from sipcore.scan cimport *

from sipcore.errors import TransportError, UsageError

logger = logging.getLogger("sipcore.engine")

READ_WHOLE, READ_PART, READ_NEXT, READ_NOTHING, READ_NO_SIP, READ_ENDED, READ_BROKEN = range(READ_KINDS)

cdef enum:
    ROUNDS_OF_A_WAKE = 4                 # receive calls of 64 datagrams before other sockets get their turn
    FLUSHES_OF_A_BATCH = 8
    EXPIRIES_OF_A_CALL = 8192            # what is left is due at once; messages get their turn in between

cdef uint64_t CLIENT_TAG = <uint64_t>1 << 56
cdef uint64_t SERVER_TAG = <uint64_t>2 << 56
cdef uint64_t POLICY_TAG = <uint64_t>3 << 56
cdef uint64_t KIND_MASK = <uint64_t>0xff << 56


cdef inline int64_t earlier(int64_t one, int64_t other) noexcept:
    """The earlier of two instants, of which negative ones are never."""
    return other if one < 0 or 0 <= other < one else one


@cython.final
cdef class Engine:
    def __cinit__(self, *, bytes key not None, double now, object on_wake=None, object clock=None, object limits=None):
        self.core = Core(key, now, on_wake, clock, limits)
        self.server = Server(self.core, derive_key(key, b"server"), SERVER_TAG)
        self.client = Client(self.core, derive_key(key, b"client"), CLIENT_TAG)
        self.group = Group(self.core, self.server)
        self.intake = Intake(self.core, self.server, self.client, self.group)
        self.streams = Streams(self.intake)
        self.timers, self.lost = {}, []

    def __repr__(self):
        return (f"<Engine {self.server.table.live} server transactions, {self.client.table.live} client transactions, "
                f"{len(self.core.connections)} connections>")

    # limits

    @property
    def overload(self):
        return self.server.overload

    @property
    def max_client_transactions(self):
        return self.client.max_transactions

    @max_client_transactions.setter
    def max_client_transactions(self, int64_t count):
        self.client.max_transactions = count

    @property
    def max_message_size(self):
        return self.core.limits.message_size

    @property
    def server_transactions(self):
        return self.server.table

    @property
    def client_transactions(self):
        return self.client.table

    @property
    def workers(self):
        return self.group

    @property
    def in_batch(self):
        return self.core.in_batch

    @property
    def now(self):
        return self.core.now_us / 1e6

    # who hears

    def add_user_agent(self, events):
        self.core.agents.append(Agent(len(self.core.agents), events))
        return len(self.core.agents) - 1

    def remove_user_agent(self, int user_agent):
        if self.core.agent(user_agent) is not None:
            self.core.agents[user_agent] = None

    def set_stateless_methods(self, int user_agent, methods):
        cdef Agent agent = self.core.agent(user_agent)
        if agent is None:
            raise UsageError(f"no user agent {user_agent}")
        agent.set_stateless(methods)

    def set_source_filter(self, int user_agent, accepts):
        cdef Agent agent = self.core.agent(user_agent)
        if agent is None:
            raise UsageError(f"no user agent {user_agent}")
        agent.accepts = accepts

    # where octets come from and go to

    def add_local(self, str transport not None, str host not None, int port, *, int user_agent, sender, advertise=None):
        if self.core.agent(user_agent) is None:
            raise UsageError(f"no user agent {user_agent}")
        return self.core.connections.add_local(transport, host, port, user_agent=user_agent, sender=sender,
                                               advertise=advertise)

    def remove_local(self, int64_t local):
        return self.core.connections.remove_local(local)

    def local_sent_by(self, int64_t local):
        if (found := self.core.connections.local(local)) is None:
            raise UsageError(f"no local address {local}")
        return found.sent_by

    def flow_sent_by(self, int64_t flow):
        cdef Local local = self.core.connections.local_of(flow)
        if local.port or local.is_advertised:
            return local.sent_by
        _, host, port, _, _ = self.core.connections.flow_info(flow)
        return format_sent_by(host, port)

    def datagram_flow(self, int64_t local, str host not None, int port):
        cdef Local found = self.core.connections.local(local)
        cdef host_address remote
        cdef bytes text = host.encode("ascii", "replace")
        if found is None or not 0 <= port <= 65535 or address_parse(&remote, text, port) < 0:
            raise TransportError(f"no datagrams go from local address {local} to {host}:{port}")
        if not may_talk_to(found, &remote):
            raise TransportError(f"{host}:{port} must not be sent to")
        flow = self.core.connections.datagram_flow(found, &remote, self.core.now_us)
        if flow == 0:
            raise TransportError(f"no datagrams go from {found!r} to {host}:{port}")
        return flow

    def add_connection(self, int64_t local, str transport not None, tuple local_address not None,
                       tuple remote_address not None, writer, *, bint accepted=True, StreamSocket socket=None,
                       bint shared=False, str identity not None="", bint message_based=False):
        cdef Local found = self.core.connections.local(local)
        cdef StreamEnd end = StreamEnd(writer, socket)
        if found is None or found.transport != transport.lower():
            raise UsageError(f"local address {local} has no {transport} connections")
        end.is_message_based = message_based
        flow = self.core.connections.add(local, local_address[:2], remote_address[:2], end, identity=identity,
                                         accepted=accepted, shared=shared, now_us=self.core.now_us)
        if flow == 0:
            raise TransportError(f"too many connections; {remote_address[0]} is refused")
        end.flow = flow
        if not accepted:
            self.core.connections.hold(flow)
        return flow

    def share_connection(self, int64_t flow, str identity not None="", *, bint may_alias=False):
        self.streams.share(flow, identity, may_alias)

    def find_connection(self, str transport not None, int user_agent, str host not None, int port,
                        str identity not None=""):
        return self.core.connections.find(transport, user_agent, host, port, identity)

    def admit_connection(self, str host not None, double idle_before, *, int in_all, int per_address):
        return self.core.connections.admit(host, <int64_t>(idle_before * 1e6), in_all=in_all, per_address=per_address)

    def connection(self, int64_t flow):
        cdef StreamEnd end = self.core.outbox.end_of(flow)
        return None if end is None else end.writer

    def connections(self, locals=None):
        return [self.connection(flow) for flow in self.core.connections.flows(locals)]

    def connection_used(self, int64_t flow):
        return self.core.connections.last_used_us(flow) / 1e6

    def remove_connection(self, int64_t flow, str reason not None, double now):
        if self.core.in_batch:
            self.lost.append((flow, reason))
            return
        self.enter(now)
        try:
            self.drop_flow(flow, reason)
        finally:
            self.leave()

    def flow_info(self, int64_t flow):
        return self.core.connections.flow_info(flow)

    def flow_local(self, int64_t flow):
        cdef Local local = self.core.connections.local_of(flow)
        return local.handle if local.parent is None else local.parent.handle

    # in

    def receive(self, bytes data not None, int64_t flow, double now):
        cdef Local local = self.core.connections.flow_local(flow)
        if local is None:
            raise TransportError(f"flow {flow} has ended")
        self.enter(now)
        try:
            self.intake.look_ahead(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), local.user_agent, 0)
            self.intake.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), local, flow, 0)
        finally:
            self.leave()

    def receive_batch(self, DatagramSocket socket not None, int64_t local, double now):
        cdef Local bound = self.core.connections.local(local)
        cdef Local reached
        cdef datagram_item *items = socket.arena.arena.items
        cdef datagram_item *item
        cdef datagram_slot *slot
        cdef int64_t flow
        cdef int count = 0, at
        if bound is None:
            raise UsageError(f"no local address {local}")
        self.enter(now)
        self.server.overload.standing_us = self.core.now_us - bound.queued_us if bound.queued_us else 0
        try:
            self.take_failures(socket, bound)
            for _ in range(ROUNDS_OF_A_WAKE):
                count = socket.take()
                for at in range(count + 1):
                    if at < count:
                        self.intake.look_ahead(items[at].octets, items[at].size, bound.user_agent, at & 1)
                    if at == 0:
                        continue
                    item = &items[at - 1]
                    slot = &socket.arena.arena.slots[item.slot]
                    reached = self.core.connections.local_reached(bound, &slot.arrived)
                    flow = 0
                    if may_talk_to(reached, &slot.remote) and not item.is_truncated:
                        flow = self.core.connections.datagram_flow(reached, &slot.remote, self.core.now_us)
                    if flow == 0:
                        self.core.counters[COUNT_BAD_SOURCES] += 1
                        continue
                    self.intake.take(item.octets, item.size, reached, flow, (at - 1) & 1)
                if count < 64:
                    break
        finally:
            self.server.overload.standing_us = 0
            self.leave()
        if count < 64:
            bound.queued_us = 0
        elif bound.queued_us == 0:
            bound.queued_us = self.core.now_us
        return count >= 64

    def receive_failure(self, bytes data not None, int64_t local, str host not None, int port, str reason not None,
                        double now):
        cdef Local bound = self.core.connections.local(local)
        cdef host_address remote
        cdef bytes text = host.encode("ascii", "replace")
        self.enter(now)
        try:
            if bound is not None and address_parse(&remote, text, port) == 0:
                self.take_failure(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), bound, &remote, reason)
        finally:
            self.leave()

    def receive_stream(self, bytes data not None, int64_t flow, double now):
        cdef StreamEnd end
        self.enter(now)
        try:
            end = self.core.outbox.end_of(flow)
            return end is not None and self.streams.take_chunk(end, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        finally:
            self.leave()

    def receive_messages(self, list messages not None, int64_t flow, double now):
        cdef StreamEnd end
        cdef bytes octets
        self.enter(now)
        try:
            end = self.core.outbox.end_of(flow)
            if end is None:
                return False
            for octets in messages:
                if not self.streams.take_message(end, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)):
                    return False
            return True
        finally:
            self.leave()

    def receive_socket(self, int64_t flow, double now):
        cdef StreamEnd end = self.core.outbox.end_of(flow)
        if end is None or end.socket is None:
            raise TransportError(f"flow {flow} has ended")
        self.enter(now)
        try:
            return self.streams.read(end)
        finally:
            self.leave()

    def receive_letters(self, list letters not None, double now):
        self.enter(now)
        try:
            for letter in letters:
                flow = self.group.open(letter, self.lost)
                if flow:
                    self.take_letter(letter, PyBytes_GET_SIZE(letter) - sizeof(letter_head), flow)
        finally:
            self.group.is_reading = False
            self.leave()

    def stream_pending(self, int64_t flow):
        cdef StreamEnd end = self.core.outbox.end_of(flow)
        return READ_WHOLE if end is None else self.streams.part_of(end)

    def handle_timers(self, double now):
        cdef uint64_t tag
        cdef int room = EXPIRIES_OF_A_CALL
        self.enter(now)
        try:
            while room and self.core.wheel.take_due(self.core.now_us, &tag, 1):
                self.expire_timer(tag)
                room -= 1
            self.expire_queues(room)
        finally:
            self.leave()

    def next_timer(self):
        cdef int64_t due = earlier(self.core.wheel.next_due_us(), self.server.table.next_due_us())
        due = earlier(due, self.client.table.next_due_us())
        return None if due < 0 else due / 1e6

    def flush(self):
        if self.core.in_batch:
            return
        self.core.in_batch = True
        self.leave()

    # out

    def new_branch(self):
        return "z9hG4bK" + self.core.new_name(2)

    def new_tag(self):
        return self.core.new_name(1)

    def new_call_id(self):
        return self.core.new_name(2)

    def to_tag(self, Request request not None):
        return self.server.to_tag(request)

    def send_request(self, Request request not None, int64_t flow, receiver, double now):
        self.core.set_now(now)
        return self.client.send_request(request, flow, receiver)

    def send_response(self, Request request not None, Response response not None):
        self.server.forward(request, response)

    def refuse(self, Request request not None, int status_code, *, headers=()):
        self.server.refuse_new(request, status_code, headers)

    def cancel(self, int64_t transaction, double now, *, headers=()):
        self.core.set_now(now)
        return self.client.cancel(transaction, headers)

    def forget(self, int64_t transaction):
        self.client.forget(transaction)

    def send(self, bytes octets not None, int64_t flow):
        cdef StreamEnd end
        if self.core.connections.flow_local(flow) is None:
            raise TransportError(f"flow {flow} has ended")
        if octets == b"\r\n\r\n":
            end = self.core.outbox.end_of(flow)
            if end is not None and not end.is_message_based:
                self.streams.framer_of(end).expect_pong()
        self.core.enter_quietly()
        self.core.outbox.send(flow, octets)

    # timers of policy

    def start_timer(self, double due, callback):
        cdef int64_t due_us = <int64_t>(due * 1e6 + 0.5)
        self.last_timer += 1
        self.core.enter_quietly()
        handle = self.core.wheel.start(max(due_us, self.core.now_us), POLICY_TAG | <uint64_t>self.last_timer)
        self.timers[self.last_timer] = (callback, handle)
        return self.last_timer

    def cancel_timer(self, int64_t timer):
        entry = self.timers.pop(timer, None)
        return entry is not None and self.core.wheel.cancel(entry[1])

    def stats(self):
        counts = {name: self.core.counters[<int>number] for number, name in enumerate(_COUNTER_NAMES)}
        return {
            **counts,
            "refused_over_share": self.server.overload.over_share,
            "refused_overdue": self.server.overload.overdue,
            "dropped_requests": self.server.overload.dropped,
            "forgotten_early": self.server.overload.forgotten,
            "sources": self.server.overload.sources,
            "sent": self.core.outbox.sent,
            "dropped": self.core.outbox.dropped,
            "server_transactions": self.server.table.live,
            "server_transactions_unfinished": self.server.table.unfinished,
            "client_transactions": self.client.table.live,
            "client_transactions_unfinished": self.client.table.unfinished,
            "transaction_octets": self.server.table.octets + self.client.table.octets,
            "source_octets": self.server.table.source_octets,
            "connections": len(self.core.connections),
            "refused_connections": (
                self.core.connections.refused_in_all + self.core.connections.refused_by_address
            ),
            "timers": len(self.core.wheel),
            "policy_timers": len(self.timers),
            "handed_over": self.group.handed_over,
            "taken_over": self.group.taken_over,
        }

    def close(self):
        self.server.table.clear()
        self.client.table.clear()
        for _, handle in self.timers.values():
            self.core.wheel.cancel(handle)
        self.timers.clear()

    # batches

    cdef int enter(self, double now) except -1:
        if self.core.in_batch:
            raise UsageError("the engine is inside a batch: callbacks may send and reply, not receive")
        self.core.in_batch = True
        self.core.set_now(now)
        return 0

    cdef int leave(self) except -1:
        """Send what waits; raise what a callback raised that must not be swallowed."""
        cdef object fatal
        try:
            self.flush_out()
        finally:
            self.core.in_batch = False
            self.core.woken = False
            fatal, self.core.fatal = self.core.fatal, None
        if fatal is not None:
            raise fatal
        return 0

    cdef int flush_out(self) except -1:
        """Hand on what was sent.  A connection that takes no more ends, which may send again: a few rounds."""
        cdef list refused, lost
        for _ in range(FLUSHES_OF_A_BATCH):
            refused = self.core.outbox.flush()
            lost, self.lost = self.lost, []
            if not refused and not lost:
                return 0
            for flow, reason in refused or ():
                end = self.core.outbox.end_of(flow)
                if end is not None:
                    self.core.run((<StreamEnd>end).writer.close)
                    lost.append((flow, reason))
            for flow, reason in lost:
                self.drop_flow(flow, reason)
        return 0

    cdef int drop_flow(self, int64_t flow, str reason) except -1:
        """The connection is over: forget it, then let its transactions hear of it (SPEC C6)."""
        cdef uint32_t index
        if not self.core.connections.remove(flow):
            return 0
        self.group.flow_ended(flow)
        for handle in self.client.table.take_flow(flow):
            index = self.client.table.index_of(handle)
            if index != TRANSACTION_NONE:
                self.client.lose_flow(index, reason)
        for handle in self.server.table.take_flow(flow):
            index = self.server.table.index_of(handle)
            if index != TRANSACTION_NONE:
                self.server.lose_flow(index)
        return 0

    # octets in

    cdef int take_letter(self, bytes letter, size_t size, int64_t flow) except -1:
        """A message that came in at another worker, on a flow of ours."""
        cdef const char *octets = PyBytes_AS_STRING(letter) + sizeof(letter_head)
        cdef Local local = self.core.connections.flow_local(flow)
        cdef Agent agent = self.core.agent(local.user_agent)
        cdef scanned_message *scanned = &self.intake.scanned[0]
        if agent is not None:
            self.intake.look_at(octets, size, agent, scanned)
            if scanned.result != SIP_OK or not self.group.passes_on(letter, octets, &scanned.index, agent):
                self.group.is_reading = True
                self.intake.take(octets, size, local, flow, 0)
        return 0

    cdef int take_failures(self, DatagramSocket socket, Local bound) except -1:
        """What the socket could not deliver (RFC 3261 section 18.4)."""
        cdef int count = socket.take_failures(), at
        cdef datagram_failure *failure
        for at in range(count):
            failure = &socket.socket.failures[at]
            self.take_failure(failure.octets, failure.size, bound, &failure.remote, os.strerror(failure.error))
        return 0

    cdef int take_failure(self, const char *octets, size_t size, Local bound, const host_address *remote,
                          str reason) except -1:
        cdef Agent agent = self.core.agent(bound.user_agent)
        cdef int64_t flow = 0
        if agent is not None and may_talk_to(bound, remote):
            flow = self.core.connections.datagram_flow(bound, remote, self.core.now_us)
        if flow:
            self.intake.take_unreachable(octets, size, agent, flow, reason)
        return 0

    # time

    cdef int expire_timer(self, uint64_t tag) except -1:
        cdef uint64_t kind = tag & KIND_MASK
        if kind == CLIENT_TAG:
            return self.client.expire(<uint32_t>tag)
        if kind == SERVER_TAG:
            return self.server.expire(<uint32_t>tag)
        entry = self.timers.pop(<int64_t>(tag & ~KIND_MASK), None)
        if entry is not None:
            self.core.run(entry[0])
        return 0

    cdef int expire_queues(self, int room) except -1:
        cdef uint32_t index
        while room and (index := self.server.table.take_overdue(self.core.now_us)) != TRANSACTION_NONE:
            self.server.expire(index)
            room -= 1
        while room and (index := self.client.table.take_overdue(self.core.now_us)) != TRANSACTION_NONE:
            self.client.expire(index)
            room -= 1
        return 0
