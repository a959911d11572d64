# distutils: sources = src_pyx/sipcore/c/scan.c
"""Workers that share listening addresses (SO_REUSEPORT): whose a message is, and how it gets there.

The kernel gives a datagram to any of the sockets that are bound to one address.  A
response belongs to the worker that made the branch of its top Via, a request inside a
dialog to the one that made its To tag or its Call-ID; a CANCEL whose INVITE is not here
is shown to the others.  What is another worker's goes there in a letter with the flow's
addresses, so that the answer leaves from the shared port.  A connection cannot go there:
the other worker gets a flow that stands for it and writes through the one that holds it.

A worker's number is coded in the names that it makes (`c/worker.h`).  This room does not
know how a letter travels, who starts workers, or which worker an application wants.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from sipcore._connections cimport connection_row
from sipcore._core cimport *
from sipcore._locals cimport read_address, transport_number
from sipcore._outbox cimport StreamEnd
from sipcore._transactions cimport TRANSACTION_NONE, request_key, siphash13, transaction_key
from sipcore.addresses cimport address_clear, address_equal, address_from_octets
from sipcore.scan cimport *

from sipcore.errors import TransportError, UsageError


cdef extern from "worker.h" nogil:
    int worker_of_digits(const char *digits, uint64_t secret)


cdef enum:
    BRANCH_START = 7                     # octets of z9hG4bK
    CALL_ID_SIZE = 32
    HEAD_SIZE = sizeof(letter_head)


cdef const letter_head *head_of(bytes letter) except NULL:
    cdef const letter_head *head = <const letter_head *>PyBytes_AS_STRING(letter)
    if PyBytes_GET_SIZE(letter) < <Py_ssize_t>sizeof(letter_head) or head.steps >= LETTER_STEPS:
        raise UsageError("what is too short, or goes too far, is no letter")
    return head


cdef bytes seal_letter(const letter_head *head, const char *octets, size_t size):
    cdef bytes letter = PyBytes_FromStringAndSize(NULL, sizeof(letter_head) + size)
    cdef char *out = PyBytes_AS_STRING(letter)
    memcpy(out, head, sizeof(letter_head))
    memcpy(out + sizeof(letter_head), octets, size)
    return letter


cdef letter_head new_head(int kind, int writer, int64_t flow) noexcept:
    cdef letter_head head
    memset(&head, 0, sizeof(head))
    head.kind, head.writer, head.flow = kind, writer, flow
    return head


@cython.final
cdef class StandIn:
    """The writer of a flow that stands for a connection which another worker holds."""
    cdef Group group
    cdef int worker
    cdef int64_t flow

    def write(self, bytes octets not None):
        cdef letter_head head = new_head(LETTER_WRITE, self.group.core.worker, self.flow)
        return self.group.post(self.worker, seal_letter(&head, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)))

    def write_messages(self, list messages not None):
        return all([self.write(octets) for octets in messages])

    def close(self):
        cdef letter_head head = new_head(LETTER_CLOSE, self.group.core.worker, self.flow)
        self.group.post(self.worker, seal_letter(&head, b"", 0))


@cython.final
cdef class Group:
    def __cinit__(self, Core core not None, Server server not None):
        self.core = core
        self.server = server
        self.workers = self.others = self.predecessors = ()
        self.stand_ins = {}
        self.origins = {}
        self.readers = {}

    # who is there

    def join(self, int worker, bytes secret not None, post not None):
        cdef uint64_t word = 0
        if not 0 <= worker < WORKER_COUNT:
            raise UsageError(f"a worker's number is 0 to {WORKER_COUNT - 1}, not {worker}")
        if len(secret) != 8:
            raise UsageError(f"a group's secret has 8 octets, not {len(secret)}")
        memcpy(&word, PyBytes_AS_STRING(secret), 8)
        self.core.worker, self.core.worker_secret = worker, word | 1
        self.spread_key.k0, self.spread_key.k1 = word, ~word
        self.core.connections.serial = self.core.name_key.k0 >> 44 << 16     # no flow of a former worker of this number
        self.post = post

    def know(self, workers, *, predecessors=(), bint asked_first=False, bint by_call=False):
        if len(workers) + len(predecessors) >= LETTER_STEPS:
            raise UsageError(f"at most {LETTER_STEPS - 1} workers share an address")
        self.workers = tuple(workers)
        self.predecessors = tuple(predecessors)
        self.others = tuple(one for one in self.predecessors + self.workers if one != self.core.worker)
        self.asked_first, self.by_call = asked_first, by_call

    def forget(self, int worker):
        """Flows of connections that `worker` held: they have ended with it."""
        return [own for own, (holder, _) in self.origins.items() if holder == worker]

    @property
    def worker(self):
        return None if self.post is None else self.core.worker

    def worker_of(self, bytes digits not None, /):
        """The worker that made a branch, tag or Call-ID; None when none of this group did."""
        cdef bytes name = digits[BRANCH_START:] if digits.startswith(b"z9hG4bK") else digits
        cdef int found = WORKER_NONE
        if self.post is not None and len(name) >= WORKER_DIGITS:
            found = worker_of_digits(PyBytes_AS_STRING(name), self.core.worker_secret)
        return None if found == WORKER_NONE else found

    # whose a message is

    cdef int owner(self, const char *octets, const sip_index *index, Agent agent) noexcept:
        """The worker that a message names, or WORKER_NONE."""
        cdef uint64_t secret = self.core.worker_secret
        cdef int found = WORKER_NONE
        if index.status_code:
            if index.branch.size >= BRANCH_START + WORKER_DIGITS:
                found = worker_of_digits(octets + index.branch.at + BRANCH_START, secret)
            return found
        if index.to_tag.size and (index.method == SIP_METHOD_ACK or not agent.is_proxy):
            if index.to_tag.size == WORKER_DIGITS:
                found = worker_of_digits(octets + index.to_tag.at, secret)
            if found == WORKER_NONE and index.call_id.size == CALL_ID_SIZE:
                found = worker_of_digits(octets + index.call_id.at, secret)
        return found

    cdef int spread(self, const char *octets, const sip_index *index) except -1:
        """The worker that takes a request which names none: this one, or the one that the Call-ID falls to."""
        if not self.by_call:
            return self.core.worker
        hashed = siphash13(self.spread_key, octets + index.call_id.at, index.call_id.size)
        return self.workers[<Py_ssize_t>(hashed % <uint64_t>len(self.workers))]

    cdef tuple path_of(self, const char *octets, const sip_index *index, Agent agent):
        """The workers that a message is shown to, in order, the last of which takes it; None: it stays here."""
        cdef int owner = self.owner(octets, index, agent)
        if owner != WORKER_NONE:
            return None if owner == self.core.worker else (owner,)
        if index.status_code or not self.others:
            return None
        owner = self.spread(octets, index)
        if self.asked_first and self.predecessors and not self.knows(octets, index, agent):
            return (*self.predecessors, owner)
        if owner != self.core.worker:
            return (owner,)
        if index.method == SIP_METHOD_CANCEL and not self.by_call and not self.knows(octets, index, agent):
            return self.others
        return None

    cdef bint knows(self, const char *octets, const sip_index *index, Agent agent) noexcept:
        """Whether a request belongs to a transaction of this engine."""
        cdef uint32_t method = index.method
        cdef sip_span token
        token.at = token.size = 0
        if method == SIP_METHOD_OTHER:
            token = index.method_token
        elif method == SIP_METHOD_ACK or method == SIP_METHOD_CANCEL:
            method = SIP_METHOD_INVITE
        cdef transaction_key key = request_key(self.server.table.key, agent.number, octets, index, method, token)
        if self.server.table.find(key) != TRANSACTION_NONE:
            return True
        return index.method == SIP_METHOD_ACK and self.server.find_accepted(octets, index, agent) != TRANSACTION_NONE

    # letters out

    cdef bint takes(self, const char *octets, size_t size, const sip_index *index, Agent agent,
                    int64_t flow) except -1:
        cdef tuple path
        if self.is_reading or not index.call_id.size:
            return False
        path = self.path_of(octets, index, agent)
        return path is not None and self.hand(octets, size, flow, path)

    cdef bint hand(self, const char *octets, size_t size, int64_t flow, tuple path) except -1:
        """Send a message to the first of `path`; False when it does not take it."""
        cdef letter_head head = new_head(LETTER_MESSAGE, self.core.worker, flow)
        cdef int at
        if not self.describe(&head, flow):
            return False
        head.steps = <uint8_t>(len(path) - 1)
        for at in range(head.steps):
            head.path[at] = path[at + 1]
        if not self.post(path[0], seal_letter(&head, octets, size)):
            self.refused += 1
            return False
        self.handed_over += 1
        if not self.core.connections.is_datagram_flow(flow):
            self.readers.setdefault(flow, set()).update(path)
        return True

    cdef bint describe(self, letter_head *head, int64_t flow) except -1:
        """Write the addresses of a flow into a letter's head; False when it has ended."""
        cdef Local local = self.core.connections.flow_local(flow)
        cdef connection_row *row
        if local is None or not self.core.connections.flow_remote(flow, &head.remote):
            return False
        head.transport = local.transport_number
        head.bound = local.address
        address_clear(&head.reached)
        if self.core.connections.is_datagram_flow(flow):
            if local.parent is not None:
                head.reached = local.source
        else:
            row = self.core.connections.row(flow)
            address_from_octets(&head.reached, row.local, row.remote_scope, row.local_port)
        return True

    def hand_over(self, Request request not None, int worker):
        """Give a request that came in here to `worker`; False when it does not take it."""
        cdef uint32_t at
        if self.post is None or not self.hand(PyBytes_AS_STRING(request.octets), PyBytes_GET_SIZE(request.octets),
                                              request.flow, (worker,)):
            return False
        at = self.server.table.index_of(request.transaction)
        if at != TRANSACTION_NONE:
            self.server.table.remove(at)
        return True

    # letters in

    cdef int64_t open(self, bytes letter, list lost) except -1:
        cdef const letter_head *head = head_of(letter)
        cdef StreamEnd end
        cdef int64_t flow
        if head.kind == LETTER_WRITE:
            self.core.outbox.send(head.flow, letter[sizeof(letter_head):])
        elif head.kind == LETTER_CLOSE:
            end = self.core.outbox.end_of(head.flow)
            if end is not None:
                self.core.run(end.writer.close)
        elif head.kind == LETTER_ENDED:
            lost.append((self.stand_ins.get((head.writer, head.flow), 0), "its connection has ended"))
        elif head.kind == LETTER_MESSAGE:
            flow = self.flow_of_letter(head)
            self.taken_over += flow != 0
            self.core.counters[COUNT_UNSERVED] += flow == 0
            return flow
        return 0

    cdef bint passes_on(self, bytes letter, const char *octets, const sip_index *index, Agent agent) except -1:
        cdef letter_head head = head_of(letter)[0]
        cdef int following
        while head.steps and not self.knows(octets, index, agent):
            following = head.path[0]
            head.steps -= 1
            for at in range(head.steps):
                head.path[at] = head.path[at + 1]
            if following == self.core.worker:
                return False
            if self.post(following, seal_letter(&head, PyBytes_AS_STRING(letter) + HEAD_SIZE,
                                                PyBytes_GET_SIZE(letter) - HEAD_SIZE)):
                self.handed_over += 1
                return True
        return False

    cdef int64_t flow_of_letter(self, const letter_head *head) except -1:
        cdef Local local = self.local_at(head.transport, &head.bound)
        if head.writer == self.core.worker:
            return head.flow
        if local is None:
            return 0
        if head.transport == SIP_TRANSPORT_UDP:
            return self.core.connections.datagram_flow(
                self.core.connections.local_reached(local, &head.reached), &head.remote, self.core.now_us)
        return self.stand_in(head.writer, head.flow, local, &head.reached, &head.remote)

    cdef Local local_at(self, int transport, const host_address *bound):
        """The local address that was opened as `bound`; another one of the transport for what was opened by connecting."""
        cdef Local local, alike = None
        for local in self.core.connections.locals.by_handle.values():
            if local.transport_number == transport and local.parent is None:
                if address_equal(&local.address, bound):
                    return local
                alike = local
        return alike if transport != SIP_TRANSPORT_UDP else None

    cdef int64_t stand_in(self, int worker, int64_t flow, Local local, const host_address *own,
                          const host_address *remote) except -1:
        """The flow that stands for `flow` of `worker` here."""
        cdef StandIn writer
        cdef StreamEnd end
        cdef int64_t ours = self.stand_ins.get((worker, flow), 0)
        if ours:
            return ours
        writer = StandIn.__new__(StandIn)
        writer.group, writer.worker, writer.flow = self, worker, flow
        end = StreamEnd(writer, None)
        end.is_message_based = local.transport in ("ws", "wss")
        ours = end.flow = self.core.connections.add_row(local, own, remote, end, 0, False, False, self.core.now_us)
        if ours:
            self.stand_ins[worker, flow] = ours
            self.origins[ours] = (worker, flow)
        return ours

    cdef int flow_ended(self, int64_t flow) except -1:
        cdef letter_head head
        origin = self.origins.pop(flow, None)
        if origin is not None:
            self.stand_ins.pop(origin, None)
        for worker in self.readers.pop(flow, ()):
            head = new_head(LETTER_ENDED, self.core.worker, flow)
            self.post(worker, seal_letter(&head, b"", 0))
        return 0

    # connections of other workers, without a message

    def lend(self, int64_t flow, int worker):
        """Let `worker` have a flow that stands for the connection `flow`; what it says about it (`flow_info`)."""
        info = self.core.connections.flow_info(flow)
        self.readers.setdefault(flow, set()).add(worker)
        return info

    def borrow(self, int worker, int64_t flow, tuple info not None):
        """The flow that stands for `flow` of `worker`, of which `info` is what `lend` said there."""
        cdef host_address own, remote
        cdef Local local
        transport, host, port, remote_host, remote_port = info
        read_address(&own, host, port)
        read_address(&remote, remote_host, remote_port)
        local = self.local_at(transport_number(transport), &own)
        cdef int64_t ours = self.stand_in(worker, flow, local, &own, &remote) if local is not None else 0
        if ours == 0:
            raise TransportError(f"no flow can stand for one of worker {worker}")
        return ours
