/* pool.h - rows of one size in chunks, named by small integers.
 *
 * Taking and giving back are O(1); no row ever moves; the lowest chunk with a free row
 * is used first and a chunk whose last row is given back is freed (one spare is kept),
 * so memory follows the number of live rows down again.  Knows nothing of what rows
 * hold: a row is zero when it is taken and again after it was given back, so its owner can
 * mark a live one by a non-zero stamp outside of the first four octets. */
#ifndef SIPCORE_POOL_H
#define SIPCORE_POOL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define POOL_CHUNK_BITS 10
#define POOL_CHUNK_ROWS (1 << POOL_CHUNK_BITS)
#define POOL_CHUNKS_MAX 16384
#define POOL_ROWS_MAX (POOL_CHUNKS_MAX * POOL_CHUNK_ROWS)   /* 16,777,216 */

typedef struct {
    int64_t used;              /* rows taken */
    int32_t touched;           /* rows that were ever taken; those above were never linked */
    int32_t free_row;          /* first free row below `touched`, -1: none */
} pool_chunk;

typedef struct {
    size_t row_size;           /* octets, a multiple of 8 */
    pool_chunk **chunks;       /* POOL_CHUNKS_MAX pointers; NULL: not there */
    uint64_t open[POOL_CHUNKS_MAX / 64];            /* bit set: a row can be taken from the chunk */
    uint64_t open_words[POOL_CHUNKS_MAX / 64 / 64]; /* bit set: the word of `open` is not 0 */
    int32_t empty_chunk;       /* the spare chunk that holds no row, -1: none */
    int32_t chunk_count;       /* chunks that are there */
    int64_t used;              /* rows taken in all */
} sip_pool;

static inline int pool_init(sip_pool *pool, size_t row_size)
{
    memset(pool, 0, sizeof *pool);
    pool->row_size = row_size;
    pool->empty_chunk = -1;
    memset(pool->open, 0xff, sizeof pool->open);
    memset(pool->open_words, 0xff, sizeof pool->open_words);
    pool->chunks = (pool_chunk **)calloc(POOL_CHUNKS_MAX, sizeof *pool->chunks);
    return pool->chunks ? 0 : -1;
}

static inline void pool_free(sip_pool *pool)
{
    for (int32_t i = 0; pool->chunks && i < POOL_CHUNKS_MAX; i++)
        free(pool->chunks[i]);
    free(pool->chunks);
    pool->chunks = NULL;
}

static inline void *pool_row_in(const sip_pool *pool, pool_chunk *chunk, int32_t row)
{
    return (char *)(chunk + 1) + (size_t)row * pool->row_size;
}

/* The row of a live index; no check. */
static inline void *pool_row(const sip_pool *pool, int32_t index)
{
    return pool_row_in(pool, pool->chunks[index >> POOL_CHUNK_BITS], index & (POOL_CHUNK_ROWS - 1));
}

/* The row of any integer, or NULL if no such row was ever taken in a chunk that is there. */
static inline void *pool_row_checked(const sip_pool *pool, int64_t index)
{
    if (index < 0 || index >= POOL_ROWS_MAX) return NULL;
    pool_chunk *chunk = pool->chunks[index >> POOL_CHUNK_BITS];
    int32_t row = (int32_t)(index & (POOL_CHUNK_ROWS - 1));
    return chunk && row < chunk->touched ? pool_row_in(pool, chunk, row) : NULL;
}

/* The first index from `index` on that was ever taken, -1: none.  Its owner tells whether it is live. */
static inline int32_t pool_next(const sip_pool *pool, int32_t index)
{
    int32_t at = index >> POOL_CHUNK_BITS, row = index & (POOL_CHUNK_ROWS - 1);
    for (; at < POOL_CHUNKS_MAX; at++, row = 0)
        if (pool->chunks[at] && row < pool->chunks[at]->touched) return at << POOL_CHUNK_BITS | row;
    return -1;
}

static inline void pool_mark(sip_pool *pool, int32_t chunk, int is_open)
{
    int32_t word = chunk >> 6;
    uint64_t bit = (uint64_t)1 << (chunk & 63);
    if (is_open) pool->open[word] |= bit; else pool->open[word] &= ~bit;
    bit = (uint64_t)1 << (word & 63);
    if (pool->open[word]) pool->open_words[word >> 6] |= bit; else pool->open_words[word >> 6] &= ~bit;
}

/* The lowest chunk from which a row can be taken, -1: the pool is full. */
static inline int32_t pool_open_chunk(const sip_pool *pool)
{
    for (int32_t i = 0; i < POOL_CHUNKS_MAX / 64 / 64; i++)
        if (pool->open_words[i]) {
            int32_t word = i * 64 + __builtin_ctzll(pool->open_words[i]);
            return word * 64 + __builtin_ctzll(pool->open[word]);
        }
    return -1;
}

static inline pool_chunk *pool_add_chunk(sip_pool *pool, int32_t index)
{
    pool_chunk *chunk = (pool_chunk *)calloc(1, sizeof *chunk + POOL_CHUNK_ROWS * pool->row_size);
    if (!chunk) return NULL;
    chunk->free_row = -1;
    pool->chunks[index] = chunk;
    pool->chunk_count++;
    return chunk;
}

/* Take a row, zeroed; its index, or -1 when memory or the pool is at its end. */
static inline int32_t pool_take(sip_pool *pool)
{
    int32_t at = pool_open_chunk(pool), row;
    if (at < 0) return -1;
    pool_chunk *chunk = pool->chunks[at];
    if (!chunk && !(chunk = pool_add_chunk(pool, at))) return -1;
    if (at == pool->empty_chunk) pool->empty_chunk = -1;
    row = chunk->free_row;
    if (row >= 0) {
        int32_t *link = (int32_t *)pool_row_in(pool, chunk, row);
        chunk->free_row = *link;
        *link = 0;
    } else {
        row = chunk->touched++;
    }
    if (++chunk->used == POOL_CHUNK_ROWS) pool_mark(pool, at, 0);
    pool->used++;
    return at << POOL_CHUNK_BITS | row;
}

/* A chunk became empty: it is the new spare, unless a lower one already is. */
static inline void pool_retire(sip_pool *pool, int32_t at)
{
    int32_t drop = at;
    if (pool->empty_chunk < 0 || pool->empty_chunk > at) {
        drop = pool->empty_chunk;
        pool->empty_chunk = at;
    }
    if (drop < 0) return;
    free(pool->chunks[drop]);
    pool->chunks[drop] = NULL;
    pool->chunk_count--;
}

/* Give a taken row back; its first 4 octets are used for the link, the others zeroed. */
static inline void pool_give(sip_pool *pool, int32_t index)
{
    int32_t at = index >> POOL_CHUNK_BITS, row = index & (POOL_CHUNK_ROWS - 1);
    pool_chunk *chunk = pool->chunks[at];
    int32_t *link = (int32_t *)pool_row_in(pool, chunk, row);
    memset(link, 0, pool->row_size);
    *link = chunk->free_row;
    chunk->free_row = row;
    if (chunk->used-- == POOL_CHUNK_ROWS) pool_mark(pool, at, 1);
    pool->used--;
    if (chunk->used == 0) pool_retire(pool, at);
}

/* Octets held for rows, used or not. */
static inline size_t pool_octets(const sip_pool *pool)
{
    return POOL_CHUNKS_MAX * sizeof *pool->chunks
         + (size_t)pool->chunk_count * (sizeof(pool_chunk) + POOL_CHUNK_ROWS * pool->row_size);
}

#endif
