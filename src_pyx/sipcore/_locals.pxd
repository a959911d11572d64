"""Local addresses: where octets come to and leave from."""

from libc.stdint cimport int64_t, uint8_t

from sipcore.addresses cimport host_address


# One address that octets come to and leave from.  A datagram socket bound to a wildcard has one more for
# each address of the host that it was reached on (`parent` is the socket's own), so that a flow names it.
cdef class Local:
    cdef readonly int64_t handle         # never used again
    cdef readonly int index              # in flows; used again after FLOW_LOCALS further ones
    cdef readonly str transport          # lower case
    cdef readonly str host
    cdef readonly int port
    cdef readonly int user_agent
    cdef readonly str sent_by            # host:port for Via and Contact
    cdef readonly object sender
    cdef readonly Local parent           # None: added by the caller
    cdef readonly bint is_open
    cdef uint8_t transport_number        # enum sip_transport
    cdef bint is_v6                      # an IPv6 socket: IPv4 destinations are mapped
    cdef bint is_advertised
    cdef host_address address             # where it is bound
    cdef host_address source              # what to send from; AF_UNSPEC: the kernel chooses
    cdef int row_count                   # rows that name it
    cdef dict children                   # octets of the address reached -> Local
    cdef Local reached_last
    cdef bint is_watched                 # its socket was asked to report what is not delivered
    cdef int64_t queued_us               # since when its socket was never found empty; 0: it was


cdef class LocalTable:
    cdef dict by_handle                  # the open ones
    cdef list by_number                  # by index; also those closed ones that rows still name
    cdef int64_t last

    cdef Local find(self, int64_t handle)                  # None: removed
    cdef Local at(self, int index)                         # None: no such index; may be closed
    # The Local of a new address; None: all indexes are in use.
    cdef Local add(self, str transport, str host, int port, int user_agent, object sender, tuple advertise)
    # The Local that a datagram was received on: the socket's own, or that of the address it was sent to.
    cdef Local reached(self, Local socket_local, const host_address *arrived)
    # Close a Local and those of the addresses it was reached on; each index is free when no row names it.
    cdef int close(self, Local local) except -1
    cdef int release(self, Local local) except -1          # one row less names it

    # private
    cdef Local take(self)
    cdef int close_one(self, Local local) except -1


# Whether datagrams may go from a Local to an address and come from there (FAULTS 19).
cdef bint may_talk_to(Local local, const host_address *remote) noexcept
cdef str format_sent_by(str host, int port)
cdef int read_address(host_address *address, str host, int port) except -1
cdef str host_text(const host_address *address)
cdef int transport_number(str transport) except -1       # 0: none
