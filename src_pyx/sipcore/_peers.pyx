"""How many connections each far side has: an IPv4 address, or an IPv6 /64.

Knows addresses, no connection.
"""

cimport cython
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from sipcore.addresses cimport address_is_v4, address_octets, host_address
from sipcore.pools cimport *


cdef extern from "connection.h" nogil:
    enum:
        PEER_LINK_AT
    ctypedef struct peer_row:
        int32_t count
        unsigned char prefix[16]


cdef void prefix_of(const host_address *address, unsigned char *prefix) noexcept:
    """What counts as one far side."""
    address_octets(address, prefix)
    if not address_is_v4(address):
        memset(prefix + 8, 0, 8)


@cython.final
cdef class PeerTable:
    def __cinit__(self, bytes key not None):
        self.key = siphash_key(<const char *>key)
        if (pool_init(&self.rows, sizeof(peer_row)) < 0
                or table_init(&self.by_prefix, &self.rows, PEER_LINK_AT, 0) < 0):
            raise MemoryError

    def __dealloc__(self):
        table_free(&self.by_prefix)
        pool_free(&self.rows)

    cdef int32_t find(self, const unsigned char *prefix) noexcept:
        cdef int32_t row = table_first(&self.by_prefix, <uint32_t>siphash13(self.key, prefix, 16))
        while row >= 0:
            if memcmp((<peer_row *>pool_row(&self.rows, row)).prefix, prefix, 16) == 0:
                return row
            row = table_next(&self.by_prefix, row)
        return -1

    cdef int32_t add(self, const host_address *remote) noexcept:
        cdef unsigned char prefix[16]
        cdef int32_t row
        prefix_of(remote, prefix)
        row = self.find(prefix)
        if row < 0:
            row = pool_take(&self.rows)
            if row < 0:
                return -1
            memcpy((<peer_row *>pool_row(&self.rows, row)).prefix, prefix, 16)
            table_add(&self.by_prefix, row, <uint32_t>siphash13(self.key, prefix, 16))
        (<peer_row *>pool_row(&self.rows, row)).count += 1
        return row

    cdef void take(self, int32_t row) noexcept:
        cdef peer_row *peer = <peer_row *>pool_row(&self.rows, row)
        peer.count -= 1
        if peer.count == 0:
            table_remove(&self.by_prefix, row)
            pool_give(&self.rows, row)

    cdef int count(self, int32_t row) noexcept:
        return (<peer_row *>pool_row(&self.rows, row)).count

    cdef int count_of(self, const host_address *remote) noexcept:
        cdef unsigned char prefix[16]
        cdef int32_t row
        prefix_of(remote, prefix)
        row = self.find(prefix)
        return 0 if row < 0 else self.count(row)

    cdef size_t octets(self) noexcept:
        return pool_octets(&self.rows) + table_octets(&self.by_prefix)
