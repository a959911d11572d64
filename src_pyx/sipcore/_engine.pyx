# distutils: sources = src_pyx/sipcore/c/scan.c
"""The engine: octets, time and flows in; responses, requests and callbacks out, in the order of calls.

It reads no clock and opens no socket.  Everything runs in batches: callbacks are
called inside, what they send leaves at the end.  No pointer into a table or into
received octets is used after a call into Python.

This room knows no rules: machines are in `_transactions`, what a request or a
response means to them in `_server` and `_client`, framing in `_framing`.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from sipcore._batch cimport DatagramSocket, datagram_item, datagram_slot
from sipcore._connections cimport Local, address_parse, host_address
from sipcore._core cimport *
from sipcore._core import COUNTER_NAMES as _COUNTER_NAMES, derive_key
from sipcore._group cimport Group, letter_head
from sipcore._locals cimport format_sent_by, may_talk_to
from sipcore._framing cimport FRAME_FAULT, FRAME_MESSAGE, FRAME_NONE, FRAME_PING, FRAME_PONG, Frame, StreamFramer, new_framer
from sipcore._intake cimport Intake, scanned_message
from sipcore._message cimport Request, Response
from sipcore._transactions cimport TRANSACTION_NONE, TransactionTable
from sipcore.scan cimport *

from sipcore.errors import TransportError, UsageError

logger = logging.getLogger("sipcore.engine")

cdef enum:
    ROUNDS_OF_A_WAKE = 4                 # receive calls of 64 datagrams before other sockets get their turn
    FLUSHES_OF_A_BATCH = 8
    EXPIRIES_OF_A_CALL = 8192            # what is left is due at once; messages get their turn in between

cdef uint64_t CLIENT_TAG = <uint64_t>1 << 56
cdef uint64_t SERVER_TAG = <uint64_t>2 << 56
cdef uint64_t POLICY_TAG = <uint64_t>3 << 56
cdef uint64_t KIND_MASK = <uint64_t>0xff << 56


@cython.final
cdef class Engine:
    def __cinit__(self, *, bytes key not None, double now, object on_wake=None, object clock=None, object limits=None):
        self.core = Core(key, now, on_wake, clock, limits)
        self.server = Server(self.core, derive_key(key, b"server"), SERVER_TAG)
        self.client = Client(self.core, derive_key(key, b"client"), CLIENT_TAG)
        self.group = Group(self.core, self.server)
        self.intake = Intake(self.core, self.server, self.client, self.group)
        self.framers, self.timers, self.lost = {}, {}, []

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
                       tuple remote_address not None, writer, *, bint accepted=True):
        cdef Local found = self.core.connections.local(local)
        if found is None or found.transport != transport.lower():
            raise UsageError(f"local address {local} has no {transport} connections")
        flow = self.core.connections.add(local, local_address[:2], remote_address[:2], writer,
                                         accepted=accepted, now_us=self.core.now_us)
        if flow == 0:
            raise TransportError(f"too many connections; {remote_address[0]} is refused")
        return flow

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

    def receive_stream(self, bytes data not None, int64_t flow, double now):
        cdef Local local = self.core.connections.flow_local(flow)
        cdef Agent agent
        cdef StreamFramer framer
        cdef bint goes_on = False
        if local is None:
            return False
        self.enter(now)
        try:
            self.core.connections.touch(flow, self.core.now_us)
            agent = self.core.agent(local.user_agent)
            framer = self.framer_of(flow)
            framer.append(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            goes_on = agent is not None and self.take_frames(framer, agent, flow)
        finally:
            self.leave()
        return goes_on

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
        framer = self.framers.get(flow)
        return framer is not None and framer.waiting > 0

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
        dues = (self.core.wheel.next_due_us(), self.server.table.next_due_us(), self.client.table.next_due_us())
        due = min([due for due in dues if due >= 0], default=None)
        return None if due is None else due / 1e6

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

    def cancel(self, int64_t transaction, double now, *, headers=()):
        self.core.set_now(now)
        return self.client.cancel(transaction, headers)

    def forget(self, int64_t transaction):
        self.client.forget(transaction)

    def send(self, bytes octets not None, int64_t flow):
        if self.core.connections.flow_local(flow) is None:
            raise TransportError(f"flow {flow} has ended")
        if octets == b"\r\n\r\n" and self.flow_info(flow)[0] != "udp":
            self.framer_of(flow).expect_pong()
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
            for flow in refused or ():
                writer = self.core.connections.flow_writer(flow)
                if writer is not None:
                    self.core.run(writer.close)
                    lost.append((flow, "its queue is full"))
            for flow, reason in lost:
                self.drop_flow(flow, reason)
        return 0

    cdef int drop_flow(self, int64_t flow, str reason) except -1:
        """The connection is over: forget it, then let its transactions hear of it (SPEC C6)."""
        cdef uint32_t index
        if not self.core.connections.remove(flow):
            return 0
        self.framers.pop(flow, None)
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

    cdef StreamFramer framer_of(self, int64_t flow):
        cdef StreamFramer framer = self.framers.get(flow)
        if framer is None:
            framer = self.framers[flow] = new_framer(&self.core.limits)
        return framer

    cdef bint take_frames(self, StreamFramer framer, Agent agent, int64_t flow) except -1:
        """What a connection has whole; False when it can no longer be framed."""
        cdef const char *octets = NULL
        cdef Frame frame
        while True:
            frame = framer.next(&octets)
            if frame == FRAME_NONE:
                return True
            if frame == FRAME_MESSAGE:
                self.core.counters[COUNT_RECEIVED] += 1
                self.take_framed(octets, framer, agent, flow)
            elif frame == FRAME_FAULT:
                self.core.counters[COUNT_RECEIVED] += 1
                self.intake.take_malformed(octets, &framer.index, framer.lines, flow)
                return False
            else:
                self.core.counters[COUNT_KEEP_ALIVES] += 1
                if frame == FRAME_PING:
                    self.core.outbox.send(flow, b"\r\n")
                elif agent.on_pong is not None:
                    self.core.call(agent.on_pong, flow)

    cdef int take_framed(self, const char *octets, StreamFramer framer, Agent agent, int64_t flow) noexcept:
        try:
            if self.core.worker >= 0 and self.group.takes(octets, framer.index.size, &framer.index, agent, flow):
                pass
            elif framer.index.status_code:
                self.client.take_response(octets, &framer.index, framer.lines, agent, flow)
            else:
                self.server.take_request(octets, &framer.index, framer.lines, agent, flow, NULL)
        except Exception:
            self.core.counters[COUNT_INTERNAL_ERRORS] += 1
            logger.exception("a message could not be handled")
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
