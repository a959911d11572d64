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
    uint32_t next_by_key;
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
    uint32_t next_by_dialog;
    uint32_t interval_ms;                     /* of the repeating timer; 0: none runs */
    uint32_t user_agent;
    uint32_t to_tag_hash;
    int64_t repeat_us;                        /* when the repeating timer is due */
    uint8_t machine, state;
    uint8_t deadline_event, repeat_event;
    uint8_t queue, flags;
    uint16_t spare;
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

/* A growing table of chains over row indexes: one bucket is split for each insertion above one row a bucket, so
 * no insertion ever pays for a whole rehash (linear hashing). */
typedef struct {
    uint32_t *heads;
    uint32_t count, room;                     /* buckets in use; buckets allocated */
    uint32_t mask;                            /* smallest power of two above count - 1, minus 1 */
} bucket_table;

static inline int buckets_init(bucket_table *table)
{
    table->count = table->room = 256;
    table->mask = 255;
    table->heads = (uint32_t *)malloc(table->room * sizeof *table->heads);
    if (!table->heads) return -1;
    memset(table->heads, 0xff, table->room * sizeof *table->heads);
    return 0;
}

static inline uint32_t bucket_of(const bucket_table *table, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & table->mask;
    return at < table->count ? at : at & (table->mask >> 1);
}

/* Room for one more bucket; -1 when memory is at its end (the table works on, with longer chains). */
static inline int buckets_reserve(bucket_table *table)
{
    uint32_t *heads;
    if (table->count < table->room) return 0;
    if (table->room > UINT32_MAX / 8) return -1;
    heads = (uint32_t *)realloc(table->heads, (size_t)table->room * 2 * sizeof *heads);
    if (!heads) return -1;
    table->heads = heads;
    table->room *= 2;
    return 0;
}

#endif
