/* simd.h - the questions asked of many octets at once, for each instruction set.  Part of scan.c.
 *
 * masks_of_64(p, &cr, &lf): bit i says that p[i] is CR, or LF.
 * mask_of_16(p, c): bit i says that p[i] is c.
 * skip(p, set): the first octet from p on that is not in a set of sets.h.
 *
 * Each reads its whole 64 or 16 octets, skip those of the last 16 that it looked at.
 */
#ifndef SIPCORE_SIMD_H
#define SIPCORE_SIMD_H

#include <stdint.h>
#include <string.h>

#include "chars.h"
#include "sets.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(SIP_NO_SIMD)
/* What other machines have; a test compares the results. */
#elif defined(__SSE2__)
#include <immintrin.h>
#define SIP_HAS_SSE2 1
#if defined(__GNUC__)
#include <cpuid.h>
#define SIP_HAS_AVX2 1
#endif
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define SIP_HAS_NEON 1
#endif

#if defined(SIP_HAS_SSE2)

ALWAYS_INLINE uint64_t sse2_mask(__m128i a, __m128i b, __m128i c, __m128i d, __m128i wanted)
{
    return (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, wanted)) |
           (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(b, wanted)) << 16 |
           (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(c, wanted)) << 32 |
           (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(d, wanted)) << 48;
}

ALWAYS_INLINE void sse2_masks_of_64(const char *p, uint64_t *cr, uint64_t *lf)
{
    const __m128i *at = (const __m128i *)(const void *)p;
    __m128i a = _mm_loadu_si128(at), b = _mm_loadu_si128(at + 1);
    __m128i c = _mm_loadu_si128(at + 2), d = _mm_loadu_si128(at + 3);

    *cr = sse2_mask(a, b, c, d, _mm_set1_epi8('\r'));
    *lf = sse2_mask(a, b, c, d, _mm_set1_epi8('\n'));
}

ALWAYS_INLINE uint32_t sse2_mask_of_16(const char *p, char wanted)
{
    __m128i octets = _mm_loadu_si128((const __m128i *)(const void *)p);

    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(octets, _mm_set1_epi8(wanted)));
}

#endif

#if defined(SIP_HAS_AVX2)

#define AVX2 __attribute__((target("avx2,bmi")))

AVX2 ALWAYS_INLINE void avx2_masks_of_64(const char *p, uint64_t *cr, uint64_t *lf)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    __m256i wanted = _mm256_set1_epi8('\r');

    *cr = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, wanted)) |
          (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, wanted)) << 32;
    wanted = _mm256_set1_epi8('\n');
    *lf = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, wanted)) |
          (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, wanted)) << 32;
}

/* An octet is in a set if the bit of its upper half (`halves`) is in the set's row for its lower half; an octet of more
 * than 127 has no row. */
AVX2 ALWAYS_INLINE const char *avx2_skip(const char *p, enum octet_set set)
{
    const __m128i row = _mm_loadu_si128((const __m128i *)(const void *)set_rows[set]);
    const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)set_halves);
    __m128i octets, upper, found;
    unsigned outside;

    for (;; p += 16) {
        octets = _mm_loadu_si128((const __m128i *)(const void *)p);
        upper = _mm_and_si128(_mm_srli_epi16(octets, 4), _mm_set1_epi8(15));
        found = _mm_and_si128(_mm_shuffle_epi8(row, octets), _mm_shuffle_epi8(halves, upper));
        outside = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(found, _mm_setzero_si128()));
        if (outside)
            return p + __builtin_ctz(outside);
    }
}

#endif

#if defined(SIP_HAS_NEON)

ALWAYS_INLINE uint64_t neon_mask(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d, uint8_t wanted)
{
    const uint8x16_t bits = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t value = vdupq_n_u8(wanted);
    uint8x16_t ab = vpaddq_u8(vandq_u8(vceqq_u8(a, value), bits), vandq_u8(vceqq_u8(b, value), bits));
    uint8x16_t cd = vpaddq_u8(vandq_u8(vceqq_u8(c, value), bits), vandq_u8(vceqq_u8(d, value), bits));
    uint8x16_t all = vpaddq_u8(ab, cd);

    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

ALWAYS_INLINE void neon_masks_of_64(const char *p, uint64_t *cr, uint64_t *lf)
{
    const uint8_t *at = (const uint8_t *)p;
    uint8x16_t a = vld1q_u8(at), b = vld1q_u8(at + 16), c = vld1q_u8(at + 32), d = vld1q_u8(at + 48);

    *cr = neon_mask(a, b, c, d, '\r');
    *lf = neon_mask(a, b, c, d, '\n');
}

ALWAYS_INLINE uint32_t neon_mask_of_16(const char *p, char wanted)
{
    const uint8x16_t bits = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t found = vandq_u8(vceqq_u8(vld1q_u8((const uint8_t *)p), vdupq_n_u8((uint8_t)wanted)), bits);

    return (uint32_t)vaddv_u8(vget_low_u8(found)) | (uint32_t)vaddv_u8(vget_high_u8(found)) << 8;
}

ALWAYS_INLINE const char *neon_skip(const char *p, enum octet_set set)
{
    const uint8x16_t row = vld1q_u8(set_rows[set]), halves = vld1q_u8(set_halves);
    uint8x16_t octets, found;
    uint64_t outside;

    for (;; p += 16) {
        octets = vld1q_u8((const uint8_t *)p);
        found = vandq_u8(vqtbl1q_u8(row, vandq_u8(octets, vdupq_n_u8(15))),
                         vqtbl1q_u8(halves, vshrq_n_u8(octets, 4)));
        outside = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(vceqzq_u8(found)), 4)), 0);
        if (outside)
            return p + __builtin_ctzll(outside) / 4;
    }
}

#endif

/* ---- without vectors: eight octets of a word at a time */

#define EACH_OCTET 0x0101010101010101ull

/* Bit i: octet i of the word at p is `wanted`. */
ALWAYS_INLINE uint64_t word_mask(const char *p, char wanted)
{
    uint64_t word, low = 0x7f * EACH_OCTET;

    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    word ^= (uint8_t)wanted * EACH_OCTET;
    word = ~(((word & low) + low) | word | low) >> 7;
    return word * 0x0102040810204080ull >> 56;
}

ALWAYS_INLINE uint64_t portable_mask_of_64(const char *p, char wanted)
{
    uint64_t mask = 0;
    unsigned i;

    for (i = 0; i < 64; i += 8)
        mask |= word_mask(p + i, wanted) << i;
    return mask;
}

ALWAYS_INLINE void portable_masks_of_64(const char *p, uint64_t *cr, uint64_t *lf)
{
    *cr = portable_mask_of_64(p, '\r');
    *lf = portable_mask_of_64(p, '\n');
}

ALWAYS_INLINE uint32_t portable_mask_of_16(const char *p, char wanted)
{
    return (uint32_t)(word_mask(p, wanted) | word_mask(p + 8, wanted) << 8);
}

ALWAYS_INLINE const char *portable_skip(const char *p, enum octet_set set)
{
    while (set_rows[set][*p & 15] >> ((unsigned char)*p >> 4) & 1)
        p++;
    return p;
}

#endif
