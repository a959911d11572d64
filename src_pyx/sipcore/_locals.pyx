"""Local addresses: where octets come to and leave from (RFC 3261 section 18).

Each has an index of 13 bits, which a flow over UDP and IPv4 holds: a freed index rests
until all others were used.  A datagram socket bound to a wildcard gets a Local for each
address of the host that it was reached on, so that a flow names its source address.

Does not know: sockets, connections, messages.
"""

cimport cython
from libc.string cimport memcmp
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport int64_t

from sipcore.addresses cimport *

from sipcore.errors import UsageError


cdef extern from "connection.h" nogil:
    enum:
        FLOW_LOCALS


# Numbered as enum sip_transport.
TRANSPORTS = ("", "udp", "tcp", "tls", "sctp", "ws", "wss")
cdef dict numbers = {name: number for number, name in enumerate(TRANSPORTS)}

cdef enum:
    UDP = 1
    REACHED_MAX = 256           # addresses of the host told apart on one wildcard socket


cdef int read_address(host_address *address, str host, int port) except -1:
    if address_parse(address, host.encode(), port) < 0:
        raise UsageError(f"not a numeric address and port: {host!r}, {port}")
    return 0


cdef int transport_number(str transport) except -1:
    """The number of enum sip_transport for a name in any case, 0 for one that is not known."""
    return numbers.get(transport.lower(), 0)


cdef str host_text(const host_address *address):
    cdef char text[ADDRESS_TEXT_SIZE]
    address_format(address, text)
    return text.decode("ascii")


cdef str format_sent_by(str host, int port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@cython.final
cdef class Local:
    """One address that octets come to and leave from."""

    def __repr__(self):
        return f"<Local {self.transport} {format_sent_by(self.host, self.port)}{'' if self.is_open else ' closed'}>"


@cython.final
cdef class LocalTable:
    """The local addresses of one connection table, by handle and by index."""

    def __cinit__(self):
        self.by_handle = {}
        self.by_number = []

    def __len__(self):
        return len(self.by_handle)

    cdef Local find(self, int64_t handle):
        return self.by_handle.get(handle)

    cdef Local at(self, int index):
        if index >= len(self.by_number):
            return None
        return <Local>PyList_GET_ITEM(self.by_number, index)

    cdef Local take(self):
        """An open Local with a handle and the index that was free for the longest time; None: all are in use."""
        cdef Local local = Local.__new__(Local)
        for _ in range(FLOW_LOCALS):
            self.last += 1
            local.index = <int>(self.last % FLOW_LOCALS)
            if self.at(local.index) is None:
                break
        else:
            return None
        while len(self.by_number) <= local.index:
            self.by_number.append(None)
        local.handle = self.last
        local.is_open = True
        self.by_handle[local.handle] = local
        self.by_number[local.index] = local
        return local

    cdef Local add(self, str transport, str host, int port, int user_agent, object sender, tuple advertise):
        cdef host_address address
        cdef Local local
        read_address(&address, host, port)
        cdef int number = transport_number(transport)
        if number == 0 or (port == 0 and number == UDP):
            raise UsageError(f"not a transport and bound port: {transport!r}, {port}")
        local = self.take()
        if local is None:
            raise UsageError(f"more than {FLOW_LOCALS} local addresses")
        local.transport, local.transport_number = TRANSPORTS[number], number
        local.host, local.port = host, port
        local.user_agent, local.sender = user_agent, sender
        local.is_advertised = advertise is not None
        local.sent_by = (format_sent_by(advertise[0], advertise[1]) if advertise is not None
                         else format_sent_by(host, port))
        local.address = address
        local.is_v6 = ":" in host
        address_clear(&local.source)
        return local

    cdef Local reached(self, Local socket_local, const host_address *arrived):
        cdef unsigned char octets[16]
        cdef Local local = socket_local.reached_last
        if address_size(arrived) == 0:
            return socket_local
        if local is not None and local.is_open and address_equal(&local.source, arrived):
            return local
        address_octets(arrived, octets)
        if socket_local.children is None:
            socket_local.children = {}
        local = socket_local.children.get((<char *>octets)[:16])
        if local is None:
            local = self.take() if len(socket_local.children) < REACHED_MAX else None
            if local is None:
                return socket_local
            become_child(local, socket_local, host_text(arrived))
            local.source = arrived[0]
            socket_local.children[(<char *>octets)[:16]] = local
        socket_local.reached_last = local
        return local

    cdef int close(self, Local local) except -1:
        if local.children is not None:
            for child in local.children.values():
                self.close_one(child)
        return self.close_one(local)

    cdef int close_one(self, Local local) except -1:
        local.is_open = False
        self.by_handle.pop(local.handle, None)
        if local.row_count == 0:
            self.by_number[local.index] = None
        return 0

    cdef int release(self, Local local) except -1:
        local.row_count -= 1
        if local.row_count == 0 and not local.is_open:
            self.by_number[local.index] = None
        return 0


cdef int become_child(Local local, Local parent, str host) except -1:
    """Make `local` the address `host` of the host on the socket of `parent`."""
    local.transport, local.transport_number = parent.transport, parent.transport_number
    local.host, local.port = host, parent.port
    local.user_agent, local.sender = parent.user_agent, parent.sender
    local.parent = parent
    local.address = parent.address
    local.is_v6 = parent.is_v6
    local.is_advertised = parent.is_advertised
    local.sent_by = parent.sent_by if parent.is_advertised else format_sent_by(host, parent.port)
    return 0


cdef bint may_talk_to(Local local, const host_address *remote) noexcept:
    """No broadcast, multicast or unspecified address, no port 0, not ourselves (FAULTS 19)."""
    cdef const host_address *own = &local.address
    cdef unsigned char own_host[16]
    cdef unsigned char remote_host[16]
    if address_port(remote) == 0 or not address_is_unicast(remote):
        return False
    if local.parent is not None:
        own = &local.source
    if address_port(remote) != local.port:
        return True
    if address_is_wildcard(own):
        return not (address_is_v4(remote) and address_v4(remote) >> 24 == 127)
    address_octets(own, own_host)
    address_octets(remote, remote_host)
    return memcmp(own_host, remote_host, 16) != 0
