"""Rows, tables and keyed hashes in C (pool.h, table.h, siphash.h); these headers say what each function does."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from "pool.h" nogil:
    ctypedef struct sip_pool:
        int64_t used
    int pool_init(sip_pool *pool, size_t row_size)
    void pool_free(sip_pool *pool)
    void *pool_row(const sip_pool *pool, int32_t index)
    void *pool_row_checked(const sip_pool *pool, int64_t index)
    int32_t pool_next(const sip_pool *pool, int32_t index)
    int32_t pool_take(sip_pool *pool)
    void pool_give(sip_pool *pool, int32_t index)
    size_t pool_octets(const sip_pool *pool)


cdef extern from "table.h" nogil:
    ctypedef struct sip_table:
        uint32_t count
    ctypedef struct sip_link:
        pass
    int table_init(sip_table *table, const sip_pool *pool, size_t link_at, uint32_t bits)
    void table_free(sip_table *table)
    int32_t table_first(const sip_table *table, uint32_t hash)
    int32_t table_next(const sip_table *table, int32_t entry)
    void table_add(sip_table *table, int32_t entry, uint32_t hash)
    void table_remove(sip_table *table, int32_t entry)
    size_t table_octets(const sip_table *table)


cdef extern from "siphash.h" nogil:
    ctypedef struct sip_key:
        uint64_t k0
        uint64_t k1
    sip_key siphash_key(const void *octets)
    uint64_t siphash13(sip_key key, const void *octets, size_t size)
    uint64_t siphash13_next(sip_key key, uint64_t before, const void *octets, size_t size)
    uint64_t siphash24(sip_key key, const void *octets, size_t size)
