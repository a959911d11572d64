/* transactions.h - the row of a transaction, its keys, and its cell of a machine.
 *
 * Knows RFC 3261 sections 17.1.3 and 17.2.3 (what identifies a transaction) and the
 * layout of rows.  Does not know Python, sockets or what an action does. */
#ifndef SIPCORE_TRANSACTIONS_H
#define SIPCORE_TRANSACTIONS_H

#include <stdlib.h>

#include "scan.h"
#include "siphash.h"

#define TRANSACTION_NONE UINT32_MAX           /* no row */
#define TRANSACTION_MACHINES 4
#define TRANSACTION_STATES 16
#define TRANSACTION_EVENTS 32
#define TRANSACTION_KEY_INLINE 512            /* octets of the pieces of a key that are hashed as they are */
#define TRANSACTION_KEY_PIECES 6              /* of a key at most; beyond that room each adds its size and a hash */
#define TRANSACTION_KEY_ROOM (TRANSACTION_KEY_INLINE + 4 + 20 * TRANSACTION_KEY_PIECES)

enum transaction_queue { QUEUE_NONE, QUEUE_WHEEL, QUEUE_T4, QUEUE_64_T1, QUEUE_COUNT };

enum transaction_flag {
    TRANSACTION_RELIABLE = 1,                 /* its transport delivers by itself */
    TRANSACTION_IN_DIALOG_TABLE = 2,
    TRANSACTION_CANCELLED = 4,                /* server: the TU was told; client: the CANCEL was sent */
    TRANSACTION_CANCEL_WANTED = 8,            /* client: waits for a provisional (RFC 3261 section 9.1) */
    TRANSACTION_FORWARDED = 16,               /* a proxy's: 2xx are not retransmitted, every ACK goes up */
    TRANSACTION_FLOW_LOST = 32
};

/* 128 keyed bits: equal keys are equal transactions, so no octets of a key are kept. */
typedef struct { uint64_t low, high; } transaction_key;

/* A finished server transaction is this row and the octets of its response. */
typedef struct {
    uint32_t spare;                           /* the pool's while the row is free */
    uint32_t generation;                      /* never 0 while the row lives */
    transaction_key key;
    uint64_t dialog_key;                      /* From tag, Call-ID, CSeq: merged requests and ACK to 2xx */
    int64_t flow;
    void *octets;                             /* bytes: the request or ACK; the last response */
    void *owner;                              /* who hears: a receiver, or the Request */
    union {
        int64_t timer;                        /* QUEUE_WHEEL */
        struct { uint32_t previous, next; } link;
    } wait;
    int64_t deadline_us;
    uint32_t interval_ms;                     /* of the repeating timer; 0: none runs */
    uint32_t user_agent;
    uint32_t to_tag_hash;
    uint32_t source;                          /* its row in the table of sources + 1; 0: counted for nobody */
    int64_t repeat_us;                        /* when the repeating timer is due */
    uint8_t machine, state;
    uint8_t deadline_event, repeat_event;
    uint8_t queue, flags;
} transaction_row;

typedef struct { uint32_t actions; uint8_t next_state, known; } transaction_cell;

typedef struct {
    uint32_t action;                          /* one START_ bit */
    uint32_t first_ms, limit_ms;              /* limit 0: a deadline */
    uint8_t event, on_reliable;               /* 0 same, 1 never, 2 at once */
} transaction_timer;

/* 128-bit SipHash-1-3: the 64-bit value and a second finalisation, as its authors do. */
static inline transaction_key transaction_hash(sip_key key, const void *octets, size_t size)
{
    const unsigned char *at = (const unsigned char *)octets, *end = at + (size & ~(size_t)7);
    uint64_t v0 = key.k0 ^ 0x736f6d6570736575u, v1 = key.k1 ^ 0x646f72616e646f6du ^ 0xee;
    uint64_t v2 = key.k0 ^ 0x6c7967656e657261u, v3 = key.k1 ^ 0x7465646279746573u, word;
    transaction_key result;
    for (; at != end; at += 8) {
        word = siphash_word(at);
        v3 ^= word; SIPHASH_ROUND(v0, v1, v2, v3); v0 ^= word;
    }
    word = (uint64_t)size << 56 | siphash_tail(at, size & 7);
    v3 ^= word; SIPHASH_ROUND(v0, v1, v2, v3); v0 ^= word;
    v2 ^= 0xee;
    for (int i = 0; i < 3; i++) SIPHASH_ROUND(v0, v1, v2, v3);
    result.low = v0 ^ v1 ^ v2 ^ v3;
    v1 ^= 0xdd;
    for (int i = 0; i < 3; i++) SIPHASH_ROUND(v0, v1, v2, v3);
    result.high = v0 ^ v1 ^ v2 ^ v3;
    return result;
}

/* Pieces of a key, each preceded by its size so that borders count; long pieces are folded to 16 octets. */
typedef struct {
    sip_key key;
    size_t size;
    unsigned char octets[TRANSACTION_KEY_ROOM];
} transaction_key_text;

static inline void key_add(transaction_key_text *text, const char *octets, size_t size)
{
    uint32_t count = (uint32_t)size;
    transaction_key folded;
    if (text->size + size > TRANSACTION_KEY_INLINE) {
        folded = transaction_hash(text->key, octets, size);
        octets = (const char *)&folded;
        size = sizeof folded;
    }
    memcpy(text->octets + text->size, &count, sizeof count);
    memcpy(text->octets + text->size + sizeof count, octets, size);
    text->size += sizeof count + size;
}

static inline void key_add_span(transaction_key_text *text, const char *octets, sip_span span)
{
    key_add(text, octets + span.at, span.size);
}

static inline void key_start(transaction_key_text *text, sip_key key, uint32_t user_agent, uint32_t kind)
{
    text->key = key;
    memcpy(text->octets, &user_agent, 4);
    memcpy(text->octets + 4, &kind, 4);
    text->size = 8;
}

#define KEY_BRANCH 0u
#define KEY_BRANCHLESS 0x100u
#define KEY_CLIENT 0x200u

/* RFC 3261 section 8.1.1.7: a branch of an element that follows RFC 3261.  The cookie alone is none. */
static inline int branch_is_unique(const char *octets, sip_span branch)
{
    static const char cookie[7] = {'z', '9', 'h', 'G', '4', 'b', 'K'};
    return branch.size > sizeof cookie && memcmp(octets + branch.at, cookie, sizeof cookie) == 0;
}

/* The server transaction that a request belongs to (RFC 3261 section 17.2.3).  `method` is that of the
 * transaction: INVITE for an ACK or CANCEL; `token` names a method that has no number. */
static inline transaction_key request_key(sip_key key, uint32_t user_agent, const char *octets,
                                          const sip_index *index, uint32_t method, sip_span token)
{
    transaction_key_text text;
    if (branch_is_unique(octets, index->branch)) {
        key_start(&text, key, user_agent, KEY_BRANCH | method);
        key_add_span(&text, octets, index->sent_by);
        key_add_span(&text, octets, index->branch);
    } else {
        /* RFC 2543: the To tag is left out, an ACK carries one that the INVITE did not. */
        key_start(&text, key, user_agent, KEY_BRANCHLESS | method);
        key_add(&text, (const char *)&index->cseq_number, sizeof index->cseq_number);
        key_add_span(&text, octets, index->request_uri);
        key_add_span(&text, octets, index->from_tag);
        key_add_span(&text, octets, index->call_id);
        key_add_span(&text, octets, index->top_via);
    }
    if (token.size) key_add_span(&text, octets, token);
    return transaction_hash(key, text.octets, text.size);
}

/* The client transaction that a response belongs to (RFC 3261 section 17.1.3); also made of the request itself. */
static inline transaction_key response_key(sip_key key, uint32_t user_agent, const char *octets,
                                           const sip_index *index, uint32_t method, sip_span token)
{
    transaction_key_text text;
    key_start(&text, key, user_agent, KEY_CLIENT | method);
    key_add_span(&text, octets, index->branch);
    if (token.size) key_add_span(&text, octets, token);
    return transaction_hash(key, text.octets, text.size);
}

/* What a merged request (RFC 3261 section 8.2.2.2) and the ACK to a 2xx share with the request. */
static inline uint64_t dialog_key(sip_key key, uint32_t user_agent, const char *octets,
                                  const sip_index *index, uint32_t method, sip_span token)
{
    transaction_key_text text;
    key_start(&text, key, user_agent, KEY_CLIENT | KEY_BRANCHLESS | method);
    key_add(&text, (const char *)&index->cseq_number, sizeof index->cseq_number);
    key_add_span(&text, octets, index->from_tag);
    key_add_span(&text, octets, index->call_id);
    if (token.size) key_add_span(&text, octets, token);
    return siphash13(key, text.octets, text.size);
}

/* What the To tag of responses to a request is made of (RFC 3261 section 8.2.7): its top Via and its Call-ID. */
static inline uint64_t response_tag(sip_key key, const char *octets, const sip_index *index)
{
    transaction_key_text text;
    text.key = key;
    text.size = 0;
    key_add_span(&text, octets, index->branch);
    key_add_span(&text, octets, index->sent_by);
    key_add_span(&text, octets, index->call_id);
    return siphash13(key, text.octets, text.size);
}

/* The keys of a new request, computed ahead of time. */
typedef struct {
    transaction_key key;
    uint64_t shared;                          /* dialog_key */
    uint8_t is_ready;
    uint8_t has_shared;
} request_keys;

/* Rows by hash: open addressing over entries of 8 octets, so that a miss costs one cache line and visits no row.  It
 * doubles without a pause: the former half-sized array is emptied by a few slots with each addition. */
typedef struct { uint32_t row, hash; } hash_entry;    /* row + 1; 0: empty */

#define HASH_MOVED UINT32_MAX                         /* in `former` only: the slot was emptied, probing goes on */
#define HASH_MOVES 4                                  /* slots of `former` emptied with each addition */

typedef struct {
    hash_entry *entries, *former;                     /* former: NULL unless the table is growing */
    uint32_t mask, former_mask;
    uint32_t count;                                   /* entries in both arrays */
    uint32_t emptied;                                 /* slots of `former` below this are empty */
} hash_table;

/* Where a search stands. */
typedef struct { uint32_t probes; uint8_t in_former; } hash_cursor;

static inline hash_cursor start_of_search(void)
{
    hash_cursor cursor = { 0, 0 };
    return cursor;
}

static inline int hash_init(hash_table *table)
{
    memset(table, 0, sizeof *table);
    table->mask = 255;
    table->entries = (hash_entry *)calloc(256, sizeof *table->entries);
    return table->entries ? 0 : -1;
}

static inline void hash_free(hash_table *table)
{
    free(table->entries);
    free(table->former);
    table->entries = table->former = NULL;
}

static inline size_t hash_octets(const hash_table *table)
{
    return ((size_t)table->mask + 1 + (table->former ? (size_t)table->former_mask + 1 : 0)) * sizeof(hash_entry);
}

static inline void hash_put(hash_table *table, uint32_t hash, uint32_t row)
{
    uint32_t at = hash & table->mask;
    while (table->entries[at].row) at = (at + 1) & table->mask;
    table->entries[at].row = row;
    table->entries[at].hash = hash;
}

static inline void hash_move(hash_table *table, uint32_t slots)
{
    while (table->former && slots--) {
        hash_entry *entry = table->former + table->emptied;
        if (entry->row && entry->row != HASH_MOVED) {
            hash_put(table, entry->hash, entry->row);
            entry->row = HASH_MOVED;
        }
        if (table->emptied++ == table->former_mask) {
            free(table->former);
            table->former = NULL;
        }
    }
}

/* Start to double; -1 when memory is at its end and not a slot is left. */
static inline int hash_grow(hash_table *table)
{
    size_t room = ((size_t)table->mask + 1) * 2;
    hash_entry *entries = (hash_entry *)calloc(room, sizeof *entries);
    if (!entries) return table->count < table->mask ? 0 : -1;
    hash_move(table, UINT32_MAX);
    table->former = table->entries;
    table->former_mask = table->mask;
    table->emptied = 0;
    table->entries = entries;
    table->mask = (uint32_t)(room - 1);
    return 0;
}

/* Add a row; -1 when memory is at its end. */
static inline int hash_add(hash_table *table, uint32_t hash, uint32_t row)
{
    hash_move(table, HASH_MOVES);
    if (table->count > table->mask - table->mask / 4 && hash_grow(table) < 0) return -1;
    hash_put(table, hash, row + 1);
    table->count++;
    return 0;
}

/* Have the place of a hash in the cache by the time that it is searched. */
static inline void hash_prefetch(const hash_table *table, uint32_t hash)
{
    __builtin_prefetch(table->entries + (hash & table->mask), 1);
}

/* The next row under a hash, TRANSACTION_NONE at the end. */
static inline uint32_t hash_next(const hash_table *table, uint32_t hash, hash_cursor *cursor)
{
    for (;;) {
        const hash_entry *entries = cursor->in_former ? table->former : table->entries;
        uint32_t mask = cursor->in_former ? table->former_mask : table->mask;
        while (cursor->probes <= mask) {
            const hash_entry *entry = entries + ((hash + cursor->probes++) & mask);
            if (!entry->row) break;
            if (entry->hash == hash && entry->row != HASH_MOVED) return entry->row - 1;
        }
        if (cursor->in_former || !table->former) return TRANSACTION_NONE;
        cursor->in_former = 1;
        cursor->probes = 0;
    }
}

/* Close the gap that an entry leaves: those behind it that could stand nearer to their place move up. */
static inline void hash_close(hash_table *table, uint32_t gap)
{
    uint32_t at = gap;
    for (;;) {
        at = (at + 1) & table->mask;
        if (!table->entries[at].row) break;
        if (((at - table->entries[at].hash) & table->mask) >= ((at - gap) & table->mask)) {
            table->entries[gap] = table->entries[at];
            gap = at;
        }
    }
    table->entries[gap].row = 0;
}

/* Remove a row that was added under this hash. */
static inline void hash_remove(hash_table *table, uint32_t hash, uint32_t row)
{
    uint32_t probes;
    for (probes = 0; probes <= table->mask; probes++) {
        uint32_t at = (hash + probes) & table->mask;
        if (!table->entries[at].row) break;
        if (table->entries[at].row == row + 1) {
            hash_close(table, at);
            table->count--;
            return;
        }
    }
    for (probes = 0; table->former && probes <= table->former_mask; probes++) {
        hash_entry *entry = table->former + ((hash + probes) & table->former_mask);
        if (entry->row == row + 1) {
            entry->row = HASH_MOVED;
            table->count--;
            return;
        }
    }
}

#endif
