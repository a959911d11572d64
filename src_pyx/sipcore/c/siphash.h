/* siphash.h - a keyed hash of short octet strings (Aumasson, Bernstein: "SipHash: a
 * fast short-input PRF", 2012).
 *
 * SipHash-1-3 for tables whose keys the far side chooses, SipHash-2-4 where the value
 * itself authenticates (flow tokens).  Knows nothing of tables or messages. */
#ifndef SIPCORE_SIPHASH_H
#define SIPCORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint64_t k0, k1; } sip_key;

static inline uint64_t siphash_word(const unsigned char *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The last 0..7 octets of a string, first octet lowest. */
static inline uint64_t siphash_tail(const unsigned char *at, size_t count)
{
    uint64_t word = 0;
    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)at[i] << (8 * i);
    return word;
}

/* A key of 16 octets, in the order that the paper's vectors use. */
static inline sip_key siphash_key(const void *octets)
{
    const unsigned char *at = (const unsigned char *)octets;
    sip_key key = { siphash_word(at), siphash_word(at + 8) };
    return key;
}

#define SIPHASH_ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define SIPHASH_ROUND(v0, v1, v2, v3)                                            \
    do {                                                                         \
        v0 += v1; v2 += v3;                                                      \
        v1 = SIPHASH_ROTATE(v1, 13) ^ v0; v3 = SIPHASH_ROTATE(v3, 16) ^ v2;      \
        v0 = SIPHASH_ROTATE(v0, 32);                                             \
        v2 += v1; v0 += v3;                                                      \
        v1 = SIPHASH_ROTATE(v1, 17) ^ v2; v3 = SIPHASH_ROTATE(v3, 21) ^ v0;      \
        v2 = SIPHASH_ROTATE(v2, 32);                                             \
    } while (0)

/* The rounds are constants at every call, so each use is unrolled. */
static inline __attribute__((always_inline)) uint64_t siphash_rounds(
    sip_key key, const void *octets, size_t size, int compression, int finalization)
{
    const unsigned char *at = (const unsigned char *)octets, *end = at + (size & ~(size_t)7);
    uint64_t v0 = key.k0 ^ 0x736f6d6570736575u, v1 = key.k1 ^ 0x646f72616e646f6du;
    uint64_t v2 = key.k0 ^ 0x6c7967656e657261u, v3 = key.k1 ^ 0x7465646279746573u;
    uint64_t word;
    for (; at != end; at += 8) {
        word = siphash_word(at);
        v3 ^= word;
        for (int i = 0; i < compression; i++) SIPHASH_ROUND(v0, v1, v2, v3);
        v0 ^= word;
    }
    word = (uint64_t)size << 56 | siphash_tail(at, size & 7);
    v3 ^= word;
    for (int i = 0; i < compression; i++) SIPHASH_ROUND(v0, v1, v2, v3);
    v0 ^= word;
    v2 ^= 0xff;
    for (int i = 0; i < finalization; i++) SIPHASH_ROUND(v0, v1, v2, v3);
    return v0 ^ v1 ^ v2 ^ v3;
}

static inline uint64_t siphash13(sip_key key, const void *octets, size_t size)
{
    return siphash_rounds(key, octets, size, 1, 3);
}

static inline uint64_t siphash24(sip_key key, const void *octets, size_t size)
{
    return siphash_rounds(key, octets, size, 2, 4);
}

/* A hash of several strings without joining them: each is hashed under the key mixed
 * with the hash of what went before (0 at first), so the borders between them count. */
static inline uint64_t siphash13_next(sip_key key, uint64_t before, const void *octets, size_t size)
{
    key.k0 ^= before;
    return siphash_rounds(key, octets, size, 1, 3);
}

#endif
