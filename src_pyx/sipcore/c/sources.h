/* sources.h - how much of a table each far side holds, so that none of them can fill it alone (FAULTS 46).
 *
 * A source is an IPv4 address or an IPv6 /64.  It has a row of 40 octets while it holds something; rows are found by a
 * keyed hash, so that taking, finding and giving back are O(1) whatever the far sides choose.  Knows counts; does not
 * know what is held. */
#ifndef SIPCORE_SOURCES_H
#define SIPCORE_SOURCES_H

#include "pool.h"
#include "siphash.h"
#include "table.h"

#define SOURCE_NONE (-1)
#define SOURCE_SHARE_WHOLE 1024u             /* a share of this many parts is all of it */

typedef struct {
    int32_t held;                            /* transactions, finished ones too; never 0 while the row lives */
    int32_t unfinished;                      /* of them without a final response */
    uint32_t period;                         /* number of the period that `recent` belongs to */
    uint32_t recent;                         /* asked for in it, and half of what was before */
    sip_link link;
    unsigned char prefix[16];
} source_row;

typedef struct {
    sip_key key;
    sip_pool rows;
    sip_table by_prefix;
    uint32_t period;
    uint32_t recent;                         /* asked for by all sources: the same sum */
    uint32_t late;                           /* of it while too much came in, */
    uint32_t greedy;                         /* and of that by sources that asked for too much */
} source_table;

static inline int sources_init(source_table *sources, sip_key key)
{
    sources->key = key;
    sources->period = sources->recent = sources->late = sources->greedy = 0;
    if (pool_init(&sources->rows, sizeof(source_row)) < 0) return -1;
    return table_init(&sources->by_prefix, &sources->rows, offsetof(source_row, link), 0);
}

static inline void sources_free(source_table *sources)
{
    table_free(&sources->by_prefix);
    pool_free(&sources->rows);
}

static inline source_row *source_at(const source_table *sources, int32_t index)
{
    return (source_row *)pool_row(&sources->rows, index);
}

static inline uint32_t source_hash(const source_table *sources, const unsigned char *prefix)
{
    return (uint32_t)siphash13(sources->key, prefix, 16);
}

/* The row of a source that holds something, SOURCE_NONE: it holds nothing. */
static inline int32_t source_find(const source_table *sources, const unsigned char *prefix)
{
    int32_t index = table_first(&sources->by_prefix, source_hash(sources, prefix));
    while (index >= 0 && memcmp(source_at(sources, index)->prefix, prefix, 16))
        index = table_next(&sources->by_prefix, index);
    return index;
}

/* What was asked for before counts half in the next period, a quarter in the one after, and so on. */
static inline uint32_t faded(uint32_t recent, uint32_t periods)
{
    return periods < 32 ? recent >> periods : 0;
}

/* One more was asked for in this period, by a source that may have no row. */
static inline void source_note(source_table *sources, int32_t index)
{
    source_row *row;
    sources->recent++;
    if (index < 0) return;
    row = source_at(sources, index);
    if (row->period != sources->period) {
        row->recent = faded(row->recent, sources->period - row->period);
        row->period = sources->period;
    }
    row->recent++;
}

/* One more is held by the source of `prefix`, whose row is `index` if it has one; its row, SOURCE_NONE: no memory. */
static inline int32_t source_hold(source_table *sources, int32_t index, const unsigned char *prefix)
{
    if (index < 0) {
        index = pool_take(&sources->rows);
        if (index < 0) return SOURCE_NONE;
        memcpy(source_at(sources, index)->prefix, prefix, 16);
        source_at(sources, index)->period = sources->period;
        source_at(sources, index)->recent = 0;
        table_add(&sources->by_prefix, index, source_hash(sources, prefix));
    }
    source_at(sources, index)->held++;
    source_note(sources, index);
    return index;
}

static inline void source_release(source_table *sources, int32_t index)
{
    if (--source_at(sources, index)->held) return;
    table_remove(&sources->by_prefix, index);
    pool_give(&sources->rows, index);
}

/* Whether one who holds `held` may take more while `room` is free: `share` of the whole for one who fills it alone,
 * and always less than what he leaves to the others (the dynamic threshold of Choudhury and Hahne, 1998). */
static inline int is_within_share(int64_t held, int64_t room, uint32_t share)
{
    return room > 0 && held * (int64_t)(SOURCE_SHARE_WHOLE - share) < room * (int64_t)share;
}

/* Whether the source asked for more than a quarter of what was asked for of late, and for more than a few. */
static inline int is_heavy_source(const source_table *sources, int32_t index)
{
    const source_row *row;
    uint32_t recent;
    if (index < 0) return 0;
    row = source_at(sources, index);
    recent = faded(row->recent, sources->period - row->period);
    return recent > 32 && (uint64_t)recent * 4 > sources->recent;
}

/* Whether most of what was too much came from heavy sources: who is not one of them is not to blame. */
static inline int is_greed_of_few(const source_table *sources)
{
    return (uint64_t)sources->greedy * 2 > sources->late;
}

static inline void sources_start_period(source_table *sources, uint32_t period)
{
    if (period == sources->period) return;
    sources->recent = faded(sources->recent, period - sources->period);
    sources->period = period;
    sources->late = sources->greedy = 0;
}

static inline size_t sources_octets(const source_table *sources)
{
    return pool_octets(&sources->rows) + table_octets(&sources->by_prefix);
}

#endif
