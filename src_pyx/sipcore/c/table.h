/* table.h - entries of pool rows found by a keyed hash, by linear hashing (Litwin, 1980).
 *
 * The table grows and shrinks by one chain an addition or removal, so no operation ever
 * touches more than a few chains, whatever the table holds.  An entry is a link inside a
 * pool row; a row may have several (its number is index << bits | which).  Knows only
 * hashes: the owner compares keys.  Hashes must be keyed (siphash.h) where the far side
 * chooses the keys. */
#ifndef SIPCORE_TABLE_H
#define SIPCORE_TABLE_H

#include "pool.h"

#define TABLE_BUCKETS_MIN 64

typedef struct {
    int32_t next;              /* entry, -1: the last */
    uint32_t hash;
} sip_link;

typedef struct {
    const sip_pool *pool;
    uint32_t link_at;          /* octets from the start of a row to its first link */
    uint32_t bits;             /* a row has 1 << bits links, side by side */
    int32_t *buckets;          /* first entry of each chain, -1: none */
    uint32_t room;             /* chains that fit into `buckets` */
    uint32_t base;             /* a power of two; chains 0 .. base + split - 1 are in use */
    uint32_t split;
    uint32_t count;            /* entries */
} sip_table;

static inline int table_init(sip_table *table, const sip_pool *pool, size_t link_at, uint32_t bits)
{
    memset(table, 0, sizeof *table);
    table->pool = pool;
    table->link_at = (uint32_t)link_at;
    table->bits = bits;
    table->room = table->base = TABLE_BUCKETS_MIN;
    table->buckets = (int32_t *)malloc(table->room * sizeof *table->buckets);
    if (!table->buckets) return -1;
    for (uint32_t i = 0; i < table->room; i++) table->buckets[i] = -1;
    return 0;
}

static inline void table_free(sip_table *table)
{
    free(table->buckets);
    table->buckets = NULL;
}

static inline sip_link *table_link(const sip_table *table, int32_t entry)
{
    char *row = (char *)pool_row(table->pool, entry >> table->bits);
    return (sip_link *)(row + table->link_at) + (entry & ((1 << table->bits) - 1));
}

static inline uint32_t table_chain(const sip_table *table, uint32_t hash)
{
    uint32_t chain = hash & (table->base - 1);
    return chain < table->split ? hash & (2 * table->base - 1) : chain;
}

/* From `entry` on, the first of this hash; -1: none. */
static inline int32_t table_match(const sip_table *table, int32_t entry, uint32_t hash)
{
    while (entry >= 0) {
        const sip_link *link = table_link(table, entry);
        if (link->hash == hash) return entry;
        entry = link->next;
    }
    return -1;
}

/* Entries of a hash, the one added last first: table_first, then table_next until -1. */
static inline int32_t table_first(const sip_table *table, uint32_t hash)
{
    return table_match(table, table->buckets[table_chain(table, hash)], hash);
}

static inline int32_t table_next(const sip_table *table, int32_t entry)
{
    const sip_link *link = table_link(table, entry);
    return table_match(table, link->next, link->hash);
}

/* Another chain, into which part of chain `split` moves; -1: no memory (the chains stay). */
static inline int table_grow(sip_table *table)
{
    uint32_t added = table->base + table->split;
    if (added == table->room) {
        int32_t *buckets = (int32_t *)realloc(table->buckets, 2 * (size_t)table->room * sizeof *buckets);
        if (!buckets) return -1;
        table->buckets = buckets;
        table->room *= 2;
    }
    int32_t *stay = &table->buckets[table->split], *move = &table->buckets[added], entry = *stay;
    while (entry >= 0) {
        sip_link *link = table_link(table, entry);
        int32_t next = link->next;
        int32_t **end = link->hash & table->base ? &move : &stay;
        **end = entry;
        *end = &link->next;
        entry = next;
    }
    *stay = *move = -1;
    if (++table->split == table->base) {
        table->base *= 2;
        table->split = 0;
    }
    return 0;
}

/* The last chain joins the one that it came from. */
static inline void table_shrink(sip_table *table)
{
    if (table->split == 0) {
        table->base /= 2;
        table->split = table->base;
    }
    table->split--;
    int32_t *end = &table->buckets[table->split];
    while (*end >= 0) end = &table_link(table, *end)->next;
    *end = table->buckets[table->base + table->split];
    if (table->room > 4 * (table->base + table->split)) {
        int32_t *buckets = (int32_t *)realloc(table->buckets, table->room / 2 * sizeof *buckets);
        if (buckets) {
            table->buckets = buckets;
            table->room /= 2;
        }
    }
}

static inline void table_add(sip_table *table, int32_t entry, uint32_t hash)
{
    if (table->count >= table->base + table->split) (void)table_grow(table);
    sip_link *link = table_link(table, entry);
    int32_t *chain = &table->buckets[table_chain(table, hash)];
    link->hash = hash;
    link->next = *chain;
    *chain = entry;
    table->count++;
}

/* Remove an entry that is in the table. */
static inline void table_remove(sip_table *table, int32_t entry)
{
    const sip_link *gone = table_link(table, entry);
    int32_t *at = &table->buckets[table_chain(table, gone->hash)];
    while (*at != entry) at = &table_link(table, *at)->next;
    *at = gone->next;
    table->count--;
    for (int i = 0; i < 2; i++)     /* two chains an entry, or chains would outlive their entries */
        if (table->base + table->split > TABLE_BUCKETS_MIN && table->count < (table->base + table->split) / 2)
            table_shrink(table);
}

static inline size_t table_octets(const sip_table *table)
{
    return table->room * sizeof *table->buckets;
}

#endif
