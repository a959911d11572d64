"""How many connections each far side has."""

from libc.stdint cimport int32_t

from sipcore.addresses cimport host_address
from sipcore.pools cimport sip_key, sip_pool, sip_table


cdef class PeerTable:
    cdef sip_key key
    cdef sip_pool rows
    cdef sip_table by_prefix

    # One more connection of an address; the row that counts it, -1: no memory.
    cdef int32_t add(self, const host_address *remote) noexcept
    cdef void take(self, int32_t row) noexcept
    cdef int count(self, int32_t row) noexcept
    cdef int count_of(self, const host_address *remote) noexcept
    cdef size_t octets(self) noexcept

    cdef int32_t find(self, const unsigned char *prefix) noexcept


# What counts as one far side, 16 octets: an IPv4 address, an IPv6 /64.
cdef void prefix_of(const host_address *address, unsigned char *prefix) noexcept
