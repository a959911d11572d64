"""Who is connected: local addresses, flows, connections (RFC 3261 section 18, RFC 5923, RFC 5626).

A flow is an integer, 0 is none: where octets came in and where the reply goes.  UDP
over IPv4 names itself in it and is stored nowhere; streams and UDP over IPv6 have a row
of 128 octets, found by a keyed hash that the far side cannot foresee (FAULTS 58).  A
flow of a removed row is refused for ever.

The table keeps its own counters and limits and says what to close; it never opens or
closes anything.  Does not know: sockets, the clock, messages, transactions.
"""

import base64

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from sipcore._locals cimport LocalTable, host_text, read_address, transport_number
from sipcore._peers cimport PeerTable
from sipcore.pools cimport *
from sipcore.errors import TransportError, UsageError


cdef extern from "connection.h" nogil:
    enum:
        FLOW_SERIAL_AT
        FLOW_INDEX_MASK
        CONNECTION_BY_PORT
        CONNECTION_BY_ALIAS
        CONNECTION_LINK_AT
    uint64_t FLOW_SERIAL_MAX
    ctypedef struct connection_key:
        unsigned char remote[16]
        uint64_t identity
        int32_t within
        uint16_t port
        uint16_t transport
    int64_t flow_of_row(uint64_t serial, int32_t index)
    connection_key connection_key_of(const connection_row *row, uint16_t port)
    uint32_t connection_hash(sip_key key, const connection_key *of)
    void idle_add(const sip_pool *pool, int32_t *oldest, int32_t index)
    void idle_remove(const sip_pool *pool, int32_t *oldest, int32_t index)


cdef enum:
    UDP = 1
    KEY_SIZE = 16
    NOBODY = 0                           # no user agent has this number


def keyed_hash(key: bytes, octets: bytes, /) -> int:
    """SipHash-1-3 of `octets` under a key of 16 octets, an unsigned 64-bit number."""
    if len(key) != KEY_SIZE:
        raise UsageError(f"a key has {KEY_SIZE} octets, not {len(key)}")
    return siphash13(siphash_key(<const char *>key), <const char *>octets, len(octets))


@cython.final
cdef class ConnectionTable:
    """Local addresses, flows and connections; see the module's docstring.

    `key`: 16 random octets for the hashes and the flow tokens.
    """

    def __cinit__(self, bytes key not None, *, int max_connections=1_000_000, int max_per_address=1_000,
                  int max_datagram_flows=65_536):
        if len(key) != KEY_SIZE:
            raise UsageError(f"a key has {KEY_SIZE} octets, not {len(key)}")
        self.key = siphash_key(<const char *>key)
        self.token_key.k0 = siphash24(self.key, b"flow token 0", 12)
        self.token_key.k1 = siphash24(self.key, b"flow token 1", 12)
        self.locals = LocalTable()
        self.writers = []
        self.oldest_connection = self.oldest_datagram = -1
        self.max_connections = max_connections
        self.max_per_address = max_per_address
        self.max_datagram_flows = max_datagram_flows
        self.peers = PeerTable(key)
        if (pool_init(&self.rows, sizeof(connection_row)) < 0
                or table_init(&self.by_key, &self.rows, CONNECTION_LINK_AT, 1) < 0):
            raise MemoryError

    def __dealloc__(self):
        table_free(&self.by_key)
        pool_free(&self.rows)

    def __len__(self):
        return self.connection_count

    def __repr__(self):
        return (f"<ConnectionTable {len(self.locals)} local addresses, {self.connection_count} connections, "
                f"{self.datagram_count} datagram flows>")

    # ---- local addresses

    cdef Local local(self, int64_t handle):
        return self.locals.find(handle)

    cdef Local local_reached(self, Local socket_local, const host_address *arrived):
        return self.locals.reached(socket_local, arrived)

    def add_local(self, str transport not None, str host not None, int port, *, int user_agent, object sender=None,
                  tuple advertise=None):
        """Add a local address (numeric, port 1-65535; 0 for connections only, nothing listens); its handle.

        `advertise`: (host, port) for Via and Contact where they differ from what is bound.
        """
        return self.locals.add(transport, host, port, user_agent, sender, advertise).handle

    def remove_local(self, int64_t handle):
        """Remove a local address; the flows of its connections, which the caller may want to close.

        Its datagram flows end at once; its connections live on until they are removed.
        """
        cdef Local local = self.local(handle), owner
        cdef connection_row *row
        cdef int32_t index = -1
        cdef list to_close = []
        if local is None:
            return to_close
        self.locals.close(local)
        while (index := pool_next(&self.rows, index + 1)) >= 0:
            row = <connection_row *>pool_row(&self.rows, index)
            owner = self.locals.at(row.owner) if row.serial else None
            if owner is None or (owner is not local and owner.parent is not local):
                continue
            if row.is_datagram:
                self.drop(index)
            else:
                to_close.append(flow_of_row(row.serial, index))
        return to_close

    def local_at(self, int64_t handle):
        """The Local of a handle, or None when it was removed."""
        return self.local(handle)

    def reached(self, int64_t handle, str host not None):
        """The Local of address `host` on the wildcard datagram socket `handle`; its handle."""
        cdef host_address arrived
        cdef Local local = self.local(handle)
        if local is None:
            raise TransportError(f"local address {handle} was removed")
        read_address(&arrived, host, 0)
        return self.local_reached(local, &arrived).handle

    # ---- rows

    cdef int32_t index_of(self, int64_t flow) noexcept:
        cdef int32_t index = <int32_t>(flow & FLOW_INDEX_MASK)
        cdef connection_row *row
        if flow_kind(flow) != FLOW_ROW:
            return -1
        row = <connection_row *>pool_row_checked(&self.rows, index)
        if row == NULL or row.serial == 0 or flow_of_row(row.serial, index) != flow:
            return -1
        return index

    cdef connection_row *row(self, int64_t flow) noexcept:
        cdef int32_t index = self.index_of(flow)
        return <connection_row *>pool_row(&self.rows, index) if index >= 0 else NULL

    cdef void link(self, int32_t index, int which, uint16_t port) noexcept:
        cdef connection_row *row = <connection_row *>pool_row(&self.rows, index)
        cdef connection_key key = connection_key_of(row, port)
        table_add(&self.by_key, index << 1 | which, connection_hash(self.key, &key))

    cdef int32_t find_entry(self, const host_address *remote, uint8_t transport, int within,
                            uint64_t identity) noexcept:
        """The row that was linked last under this key, -1: none."""
        cdef connection_key key
        cdef connection_row *row
        cdef int32_t entry
        memset(&key, 0, sizeof(key))
        address_octets(remote, key.remote)
        key.identity, key.within, key.port, key.transport = identity, within, <uint16_t>address_port(remote), transport
        entry = table_first(&self.by_key, connection_hash(self.key, &key))
        while entry >= 0:
            row = <connection_row *>pool_row(&self.rows, entry >> 1)
            if (memcmp(row.remote, key.remote, 16) == 0 and row.transport == transport and row.within == within
                    and key.port == (row.alias_port if entry & 1 else row.remote_port)
                    and row.identity == identity and row.remote_scope == address_scope(remote)):
                return entry >> 1
            entry = table_next(&self.by_key, entry)
        return -1

    cdef int32_t *idle_ring(self, const connection_row *row) noexcept:
        return &self.oldest_datagram if row.is_datagram else &self.oldest_connection

    cdef int32_t take_row(self, Local local, const host_address *remote, int within, uint64_t identity,
                          int64_t now_us) noexcept:
        """A linked row, newest in the idle order; -1: no memory."""
        cdef int32_t index = pool_take(&self.rows)
        if index < 0:
            return -1
        cdef connection_row *row = <connection_row *>pool_row(&self.rows, index)
        self.serial = self.serial + 1 if self.serial < FLOW_SERIAL_MAX else 1
        row.serial = self.serial
        address_octets(remote, row.remote)
        row.remote_scope = address_scope(remote)
        row.remote_port = <uint16_t>address_port(remote)
        row.transport = local.transport_number
        row.is_datagram = local.transport_number == UDP
        row.owner, row.within, row.peer = local.index, within, -1
        row.identity = identity
        row.used_us = now_us
        local.row_count += 1
        self.link(index, CONNECTION_BY_PORT, row.remote_port)
        idle_add(&self.rows, self.idle_ring(row), index)
        return index

    cdef void drop(self, int32_t index) noexcept:
        cdef connection_row *row = <connection_row *>pool_row(&self.rows, index)
        cdef Local local = self.locals.at(row.owner)
        table_remove(&self.by_key, index << 1)
        if row.alias_port:
            table_remove(&self.by_key, index << 1 | CONNECTION_BY_ALIAS)
        if row.holds == 0:
            idle_remove(&self.rows, self.idle_ring(row), index)
        if row.is_datagram:
            self.datagram_count -= 1
        else:
            self.connection_count -= 1
            self.peers.take(row.peer)
        pool_give(&self.rows, index)
        self.removed += 1
        self.locals.release(local)
        self.drop_writer(index)

    cdef void drop_writer(self, int32_t index) noexcept:
        if index >= len(self.writers):
            return
        self.writers[index] = None
        while self.writers and self.writers[len(self.writers) - 1] is None:
            self.writers.pop()

    # ---- datagram flows

    cdef int64_t datagram_flow(self, Local local, const host_address *remote, int64_t now_us) noexcept:
        cdef int32_t index
        if local.transport_number != UDP or not local.is_open:
            return 0
        if address_is_v4(remote):
            return flow_of_v4(local.index, address_v4(remote), <uint16_t>address_port(remote))
        index = self.find_entry(remote, UDP, local.index, 0)
        if index < 0:
            if not self.make_datagram_room() or (index := self.take_row(local, remote, local.index, 0, now_us)) < 0:
                self.refused_datagrams += 1
                return 0
            self.added += 1
            self.datagram_count += 1
        cdef int64_t flow = flow_of_row((<connection_row *>pool_row(&self.rows, index)).serial, index)
        self.touch(flow, now_us)
        return flow

    cdef bint make_datagram_room(self) noexcept:
        while self.datagram_count >= self.max_datagram_flows:
            if self.oldest_datagram < 0:
                return False
            self.drop(self.oldest_datagram)
            self.evicted += 1
        return True

    def flow_to(self, int64_t local, str host not None, int port, int64_t now_us=0):
        """The flow from a UDP local address to a numeric address; 0 when no row can be had for it."""
        cdef host_address remote
        cdef Local source = self.local(local)
        if source is None or source.transport_number != UDP:
            raise TransportError(f"not an open UDP local address: {local}")
        read_address(&remote, host, port)
        return self.datagram_flow(source, &remote, now_us)

    # ---- what a flow is

    cdef bint is_datagram_flow(self, int64_t flow) noexcept:
        cdef connection_row *row
        if flow_kind(flow) == FLOW_DATAGRAM_V4:
            return True
        row = self.row(flow)
        return row != NULL and row.is_datagram

    cdef Local flow_local(self, int64_t flow):
        cdef Local local
        cdef connection_row *row
        if flow_kind(flow) == FLOW_DATAGRAM_V4:
            local = self.locals.at(flow_local_index(flow))
            return local if local is not None and local.is_open and local.transport_number == UDP else None
        row = self.row(flow)
        return self.locals.at(row.owner) if row != NULL else None

    cdef bint flow_remote(self, int64_t flow, host_address *remote) noexcept:
        cdef Local local = self.flow_local(flow)
        cdef connection_row *row
        if local is None:
            return False
        if flow_kind(flow) == FLOW_DATAGRAM_V4:
            address_set_v4(remote, flow_host(flow), flow_port(flow))
        else:
            row = self.row(flow)
            address_from_octets(remote, row.remote, row.remote_scope, row.remote_port)
        if local.is_v6 and local.transport_number == UDP:
            address_map(remote)
        return True

    cdef object flow_writer(self, int64_t flow):
        cdef int32_t index = self.index_of(flow)
        return self.writers[index] if 0 <= index < len(self.writers) else None

    def writer(self, int64_t flow):
        """The writer of a connection; None for a datagram flow or one that has ended."""
        return self.flow_writer(flow)

    def flow_info(self, int64_t flow):
        """(transport, local host, local port, remote host, remote port); TransportError for a flow that has ended."""
        cdef host_address remote, own
        cdef Local local = self.flow_local(flow)
        cdef connection_row *row = self.row(flow)
        if local is None or not self.flow_remote(flow, &remote):
            raise TransportError(f"flow {flow} has ended")
        if row == NULL or row.is_datagram:
            return local.transport, local.host, local.port, host_text(&remote), address_port(&remote)
        address_from_octets(&own, row.local, row.remote_scope, row.local_port)
        return local.transport, host_text(&own), row.local_port, host_text(&remote), address_port(&remote)

    def local_of(self, int64_t flow):
        """The Local that a flow comes to; TransportError for a flow that has ended."""
        cdef Local local = self.flow_local(flow)
        if local is None:
            raise TransportError(f"flow {flow} has ended")
        return local

    def last_used_us(self, int64_t flow):
        """When a connection was touched or released last; TransportError for a flow without a row."""
        cdef connection_row *row = self.row(flow)
        if row == NULL:
            raise TransportError(f"flow {flow} has no row")
        return row.used_us

    # ---- connections

    cdef int64_t add_row(self, Local local, const host_address *local_address, const host_address *remote,
                         object writer, uint64_t identity, bint accepted, bint shared, int64_t now_us) except -1:
        cdef connection_row *row
        cdef int32_t index, peer
        if local.transport_number == UDP:
            raise UsageError("a connection of a UDP local address")
        if self.connection_count >= self.max_connections:
            self.refused_in_all += 1
            return 0
        peer = self.peers.add(remote)
        if peer < 0:
            raise MemoryError("no room for a connection")
        if accepted and self.peers.count(peer) > self.max_per_address:
            self.peers.take(peer)
            self.refused_by_address += 1
            return 0
        index = self.take_row(local, remote, local.user_agent if shared else NOBODY, identity, now_us)
        if index < 0:
            self.peers.take(peer)
            raise MemoryError("no room for a connection")
        row = <connection_row *>pool_row(&self.rows, index)
        row.peer = peer
        address_octets(local_address, row.local)
        row.local_port = <uint16_t>address_port(local_address)
        self.connection_count += 1
        self.added += 1
        try:
            while len(self.writers) <= index:
                self.writers.append(None)
        except MemoryError:
            self.drop(index)
            raise
        self.writers[index] = writer
        return flow_of_row(row.serial, index)

    def add(self, int64_t local, tuple local_address not None, tuple remote_address not None, object writer, *,
            str identity not None="", bint accepted=True, bint shared=True, int64_t now_us=0):
        """Add a connection of a stream local address; its flow, or 0 when a limit refuses it.

        Addresses are (numeric host, port).  `identity`: the name that the far side proved (TLS), so
        that it is reused for that name alone.  `accepted`: the far side opened it.  `shared`: `find` may
        give it to others, from the start; see `share`.
        """
        cdef host_address own, remote
        cdef Local owner = self.local(local)
        if owner is None:
            raise TransportError(f"local address {local} was removed")
        read_address(&own, local_address[0], local_address[1])
        read_address(&remote, remote_address[0], remote_address[1])
        return self.add_row(owner, &own, &remote, writer, self.identity_of(identity), accepted, shared, now_us)

    cpdef bint remove(self, int64_t flow):
        """Forget a connection or a datagram flow that has a row; False when there is none."""
        cdef int32_t index = self.index_of(flow)
        if index < 0:
            return False
        self.drop(index)
        return True

    # ---- what is in use, and what to close

    cpdef void touch(self, int64_t flow, int64_t now_us) noexcept:
        """The flow carried something: it becomes the newest in the idle order."""
        cdef int32_t index = self.index_of(flow)
        if index < 0:
            return
        cdef connection_row *row = <connection_row *>pool_row(&self.rows, index)
        row.used_us = now_us
        if row.holds == 0:
            idle_remove(&self.rows, self.idle_ring(row), index)
            idle_add(&self.rows, self.idle_ring(row), index)

    cpdef bint hold(self, int64_t flow) noexcept:
        """Keep the flow out of the idle order until it was released as often; False when it has ended.

        A UDP flow over IPv4 is held by its local address alone.
        """
        cdef int32_t index = self.index_of(flow)
        if index < 0:
            return flow_kind(flow) == FLOW_DATAGRAM_V4 and self.flow_local(flow) is not None
        cdef connection_row *row = <connection_row *>pool_row(&self.rows, index)
        if row.holds == 0:
            idle_remove(&self.rows, self.idle_ring(row), index)
        row.holds += 1
        return True

    cpdef void release(self, int64_t flow, int64_t now_us) noexcept:
        """Undo one hold."""
        cdef int32_t index = self.index_of(flow)
        if index < 0:
            return
        cdef connection_row *row = <connection_row *>pool_row(&self.rows, index)
        if row.holds == 0:
            return
        row.holds -= 1
        if row.holds == 0:
            row.used_us = now_us
            idle_add(&self.rows, self.idle_ring(row), index)

    def idle(self, int64_t before_us, int room=64):
        """Flows of connections that nobody holds and that carried nothing since, the idlest first: close them."""
        cdef list flows = []
        cdef connection_row *row
        cdef int32_t index = self.oldest_connection
        while index >= 0 and len(flows) < room:
            row = <connection_row *>pool_row(&self.rows, index)
            if row.used_us >= before_us:
                break
            flows.append(flow_of_row(row.serial, index))
            index = row.newer if row.newer != self.oldest_connection else -1
        return flows

    def admit(self, str host not None, int64_t idle_before_us, *, int in_all=0x7fffffff, int per_address=0x7fffffff):
        """Whether a connection from `host` may be accepted, and the flow to close for it first (0: none).

        At the limit in all, a connection that was idle since `idle_before_us` makes room.  `in_all` and
        `per_address` are narrower limits of a listener.  A refusal is counted.
        """
        cdef host_address remote
        read_address(&remote, host, 0)
        if self.peers.count_of(&remote) >= min(per_address, self.max_per_address):
            self.refused_by_address += 1
            return False, 0
        if self.connection_count < min(in_all, self.max_connections):
            return True, 0
        flows = self.idle(idle_before_us, 1)
        if not flows:
            self.refused_in_all += 1
        return (True, flows[0]) if flows else (False, 0)

    # ---- reuse

    cdef uint64_t identity_of(self, str identity):
        cdef bytes name = identity.lower().encode()
        return siphash13(self.key, <const char *>name, len(name)) | 1 if name else 0

    cdef int64_t find_row(self, uint8_t transport, int user_agent, const host_address *remote,
                          uint64_t identity) noexcept:
        cdef int32_t index = self.find_entry(remote, transport, user_agent, identity)
        return flow_of_row((<connection_row *>pool_row(&self.rows, index)).serial, index) if index >= 0 else 0

    def share(self, int64_t flow, str identity not None=""):
        """From now on `find` gives this connection to its user agent, for `identity`; False when it has ended."""
        cdef int32_t index = self.index_of(flow)
        cdef connection_row *row
        cdef uint16_t alias
        if index < 0 or (row := <connection_row *>pool_row(&self.rows, index)).is_datagram:
            return False
        alias = row.alias_port
        self.set_alias(flow, 0)
        table_remove(&self.by_key, index << 1)
        row.within = self.locals.at(row.owner).user_agent
        row.identity = self.identity_of(identity)
        self.link(index, CONNECTION_BY_PORT, row.remote_port)
        self.set_alias(flow, alias)
        return True

    def flows(self, locals=None):
        """The flows of all connections, or of those of some local addresses (handles)."""
        cdef list flows = []
        cdef connection_row *row
        cdef int32_t index = -1
        while (index := pool_next(&self.rows, index + 1)) >= 0:
            row = <connection_row *>pool_row(&self.rows, index)
            if row.serial == 0 or row.is_datagram:
                continue
            if locals is None or self.locals.at(row.owner).handle in locals:
                flows.append(flow_of_row(row.serial, index))
        return flows

    def find(self, str transport not None, int user_agent, str host not None, int port, str identity not None=""):
        """The connection of a user agent to (host, port), or aliased to it, that came last; 0: none."""
        cdef host_address remote
        cdef int number = transport_number(transport)
        read_address(&remote, host, port)
        return self.find_row(number, user_agent, &remote, self.identity_of(identity)) if number > UDP else 0

    cpdef bint set_alias(self, int64_t flow, int port) noexcept:
        """Requests to `port` of the far side may use this connection too (RFC 5923 section 5); 0 takes it back.

        A connection has one alias, the last.  False when the flow is no connection.
        """
        cdef int32_t index = self.index_of(flow)
        cdef connection_row *row
        if index < 0 or not 0 <= port <= 65535:
            return False
        row = <connection_row *>pool_row(&self.rows, index)
        if row.is_datagram:
            return False
        if row.alias_port:
            table_remove(&self.by_key, index << 1 | CONNECTION_BY_ALIAS)
        row.alias_port = <uint16_t>port if port != row.remote_port else 0
        if row.alias_port:
            self.link(index, CONNECTION_BY_ALIAS, row.alias_port)
        return True

    cdef int64_t token_of(self, int64_t flow) noexcept:
        return <int64_t>siphash24(self.token_key, &flow, sizeof(flow))

    cpdef str flow_token(self, int64_t flow):
        """A flow as 22 characters that a Record-Route or Path user part may hold (RFC 5626 section 5.2).

        Authenticated by the table's key: nobody else can make one, and one of an ended flow is refused.
        """
        cdef bytes octets = flow.to_bytes(8, "big") + self.token_of(flow).to_bytes(8, "big", signed=True)
        return base64.urlsafe_b64encode(octets)[:22].decode("ascii")

    cpdef int64_t flow_of_token(self, str token):
        """The flow that a token names; 0 for one that is not ours or whose flow has ended."""
        cdef int64_t flow
        cdef bytes octets
        if len(token) != 22 or not token.isascii():
            return 0
        try:
            octets = base64.urlsafe_b64decode(token + "==")
        except ValueError:
            return 0
        if len(octets) != 16 or octets[0] >= 0x80:
            return 0
        from hmac import compare_digest     # brings in OpenSSL, which few need for this

        flow = int.from_bytes(octets[:8], "big")
        if not compare_digest(self.flow_token(flow), token) or self.flow_local(flow) is None:
            return 0
        return flow

    # ---- counters

    @property
    def octets(self):
        """Octets of memory that rows, counters of addresses and look-up hold."""
        return pool_octets(&self.rows) + table_octets(&self.by_key) + self.peers.octets() + 8 * len(self.writers)

    def stats(self):
        """Live counts and totals, by name."""
        return {
            "locals": len(self.locals),
            "connections": self.connection_count,
            "datagram_flows": self.datagram_count,
            "addresses": self.peers.rows.used,
            "added": self.added,
            "removed": self.removed,
            "evicted": self.evicted,
            "refused_in_all": self.refused_in_all,
            "refused_by_address": self.refused_by_address,
            "refused_datagrams": self.refused_datagrams,
        }
