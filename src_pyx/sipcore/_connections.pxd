"""Who is connected: local addresses, flows, connections.  Never opens or closes anything."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore._locals cimport Local, LocalTable
from sipcore._peers cimport PeerTable
from sipcore.addresses cimport *
from sipcore.pools cimport sip_key, sip_pool, sip_table


cdef extern from "connection.h" nogil:
    enum:
        FLOW_DATAGRAM_V4
        FLOW_ROW
    ctypedef struct connection_row:
        int32_t newer
        uint64_t serial
        unsigned char remote[16]
        unsigned char local[16]
        uint32_t remote_scope
        uint16_t remote_port
        uint16_t local_port
        uint16_t alias_port
        uint8_t transport
        uint8_t is_datagram
        int32_t owner
        int32_t within
        int32_t peer
        uint32_t holds
        uint64_t identity
        int64_t used_us
    int64_t flow_of_v4(int local, uint32_t host, uint16_t port)
    int flow_kind(int64_t flow)
    int flow_local_index(int64_t flow)
    uint32_t flow_host(int64_t flow)
    uint16_t flow_port(int64_t flow)


cdef class ConnectionTable:
    cdef sip_key key
    cdef sip_key token_key
    cdef LocalTable locals
    cdef list writers                    # by row index
    cdef sip_pool rows
    cdef PeerTable peers                 # connections of each address
    cdef sip_table by_key
    cdef uint64_t serial
    cdef int32_t oldest_connection       # idle order of what nobody holds
    cdef int32_t oldest_datagram
    cdef int connection_count
    cdef int datagram_count
    cdef public int max_connections      # in all
    cdef public int max_per_address      # accepted from one IPv4 address or IPv6 /64
    cdef public int max_datagram_flows   # UDP over IPv6: the idlest that nobody holds makes room
    cdef uint64_t added, removed, refused_in_all, refused_by_address, evicted, refused_datagrams

    # local addresses
    cdef Local local(self, int64_t handle)                 # None: removed
    # Where a datagram was received: the socket's own Local, or the one of the address that it was sent to.
    cdef Local local_reached(self, Local socket_local, const host_address *arrived)
    # flows; 0 is none
    cdef int64_t datagram_flow(self, Local local, const host_address *remote, int64_t now_us) noexcept
    cdef Local flow_local(self, int64_t flow)              # None: the flow has ended
    # Where to send for a flow, as the family of its socket wants it; False: the flow has ended.
    cdef bint flow_remote(self, int64_t flow, host_address *remote) noexcept
    cdef bint is_datagram_flow(self, int64_t flow) noexcept
    # rows; a pointer lives until the next call into Python or into this table
    cdef connection_row *row(self, int64_t flow) noexcept
    cdef object flow_writer(self, int64_t flow)            # None: a datagram flow, or the flow has ended
    # 0: refused by a limit (counted).  `accepted`: the far side opened it, max_per_address applies.
    cdef int64_t add_row(self, Local local, const host_address *local_address, const host_address *remote,
                         object writer, uint64_t identity, bint accepted, bint shared, int64_t now_us) except -1
    cpdef bint remove(self, int64_t flow)
    cpdef void touch(self, int64_t flow, int64_t now_us) noexcept
    # A held flow is never idle and never makes room; held once, released once.
    cpdef bint hold(self, int64_t flow) noexcept
    cpdef void release(self, int64_t flow, int64_t now_us) noexcept
    # reuse
    cdef int64_t find_row(self, uint8_t transport, int user_agent, const host_address *remote,
                          uint64_t identity) noexcept
    cpdef bint set_alias(self, int64_t flow, int port) noexcept
    cpdef str flow_token(self, int64_t flow)
    cpdef int64_t flow_of_token(self, str token)

    # private
    cdef int32_t index_of(self, int64_t flow) noexcept
    cdef int32_t find_entry(self, const host_address *remote, uint8_t transport, int within, uint64_t identity) noexcept
    cdef void link(self, int32_t index, int which, uint16_t port) noexcept
    cdef int32_t take_row(self, Local local, const host_address *remote, int within, uint64_t identity,
                          int64_t now_us) noexcept
    cdef int32_t *idle_ring(self, const connection_row *row) noexcept
    cdef void drop(self, int32_t index) noexcept
    cdef void drop_writer(self, int32_t index) noexcept
    cdef bint make_datagram_room(self) noexcept
    cdef uint64_t identity_of(self, str identity)
    cdef int64_t token_of(self, int64_t flow) noexcept
