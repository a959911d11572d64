/* fast.h - the scan of a head that has no fault, many octets at a time, once for each instruction set.  Part of scan.c. */
#ifndef SIPCORE_FAST_H
#define SIPCORE_FAST_H

#include <string.h>

#include "lines.h"
#include "routing.h"
#include "simd.h"
#include "strict.h"

#define FAST_LINES 2048u         /* of the positions that are kept on the stack */

/* The longest name that fits a vector with the colon behind it. */
#define SHORT_NAME 15u

/* What names are compared in: the octets of a name in lower case, NUL behind it.  Setting bit 5 of an octet makes a
 * capital small and leaves "-" as it is; the octet that it would make a "-" is CR, which no name here holds. */
static const uint8_t kept_octets[32] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255
};

#if defined(SIP_HAS_SSE2)

/* Number of the header whose name is p[0..size) with 1 <= size <= SHORT_NAME, 16 octets being readable; SIP_OTHER if it
 * is unknown, and no token perhaps. */
ALWAYS_INLINE unsigned sse2_short_id(const char *p, unsigned size)
{
    const __m128i kept = _mm_loadu_si128((const __m128i *)(const void *)(kept_octets + 16 - size));
    __m128i name = _mm_loadu_si128((const __m128i *)(const void *)p), wanted;
    unsigned spelling;

    name = _mm_and_si128(_mm_or_si128(name, _mm_set1_epi8(0x20)), kept);
    spelling = sip_word_slots[sip_word_slot((uint64_t)_mm_cvtsi128_si64(name),
                                            (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(name, name)))];
    wanted = _mm_loadu_si128((const __m128i *)(const void *)sip_spelling_text[spelling]);
    return _mm_movemask_epi8(_mm_cmpeq_epi8(name, wanted)) == 0xffff ? sip_spelling_header[spelling] : SIP_OTHER;
}

#endif

ALWAYS_INLINE unsigned portable_short_id(const char *p, unsigned size)
{
    uint64_t name[2], kept[2], wanted[2];
    unsigned spelling;

    memcpy(name, p, 16);
    memcpy(kept, kept_octets + 16 - size, 16);
    name[0] = (name[0] | 0x20 * EACH_OCTET) & kept[0];
    name[1] = (name[1] | 0x20 * EACH_OCTET) & kept[1];
    spelling = sip_word_slots[sip_word_slot(name[0], name[1])];
    memcpy(wanted, sip_spelling_text[spelling], 16);
    return name[0] == wanted[0] && name[1] == wanted[1] ? sip_spelling_header[spelling] : SIP_OTHER;
}

/* The header from p on whose last line end is at `end`, however it is written; its number, or -1 for a fault. */
static int index_any_line(const char *octets, const char *p, const char *end, const sip_limits *limits, sip_line *line)
{
    const char *name_end = skip_class(p, end, CHAR_TOKEN), *value = name_end;
    size_t size = (size_t)(name_end - p);

    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    if (!size || size > limits->name_size || value == end || *value != ':')
        return -1;
    value = skip_white(value + 1, end);
    end = trim_end(value, end);
    line->name_at = (uint16_t)(p - octets);
    line->value_at = (uint16_t)(value - octets);
    line->value_size = (uint16_t)(end - value);
    line->name_size = (uint8_t)size;
    line->id = (uint8_t)sip_header_id(p, size);
    return line->id;
}

/* Whether the octet begins the continuation of a folded line. */
static inline int is_fold(char first)
{
    return first == ' ' || first == '\t';
}

/* A line that is not read with vectors, `number` lines being before `line`: its number, SIP_FOLDED when it goes on with
 * the one before, or -1 for a fault. */
static int index_unusual_line(const char *octets, const char *p, const char *end, const sip_limits *limits,
                              sip_line *line, unsigned number)
{
    if (!is_fold(*p))
        return index_any_line(octets, p, end, limits, line);
    if (!number || index_any_line(octets, octets + line[-1].name_at, end, limits, line - 1) < 0)
        return -1;
    return line[-1].id |= SIP_FOLDED;
}

/* Header lines among `count` line ends, of which the first is the start line's and the last the empty line's. */
static size_t count_lines(const char *octets, const uint16_t *ends, size_t count)
{
    size_t i, lines = 0;

    for (i = 1; i < count - 1; i++)
        lines += !is_fold(octets[ends[i] + 1]);
    return lines;
}

/* Whether a header, its folds included, has more than `most` octets without its line end. */
static int has_large_line(const char *octets, const uint16_t *ends, size_t count, uint32_t most)
{
    size_t i, start = ends[0] + 1u;

    for (i = 1; i < count - 1; i++) {
        if (is_fold(octets[ends[i] + 1]))
            continue;
        if (ends[i] - 1u - start > most)
            return 1;
        start = ends[i] + 1u;
    }
    return 0;
}

#define TARGET
#define SIMD(name_) portable_##name_
#include "lines_fast.h"
#include "values_fast.h"
#undef SIMD
#undef TARGET

#if defined(SIP_HAS_SSE2)
#define TARGET
#define SIMD(name_) sse2_##name_
#define sse2_skip portable_skip
#include "lines_fast.h"
#undef SIMD
#undef TARGET
#endif

#if defined(SIP_HAS_AVX2)
#define TARGET AVX2
#define SIMD(name_) avx2_##name_
#define avx2_mask_of_16 sse2_mask_of_16
#define avx2_short_id sse2_short_id
#include "lines_fast.h"
#include "values_fast.h"
#undef SIMD
#undef TARGET
#endif

#if defined(SIP_HAS_NEON)
#define TARGET
#define SIMD(name_) neon_##name_
#define neon_short_id portable_short_id
#include "lines_fast.h"
#include "values_fast.h"
#undef SIMD
#undef TARGET
#endif

/* `lines` finds all header lines; `values` reads the start line and the values that the scan reads. */
typedef struct {
    const char *name;
    const char *(*lines)(const char *octets, size_t size, size_t *start_end, const sip_limits *limits, sip_line *lines,
                         size_t room, sip_index *index);
    void (*values)(const char *octets, size_t size, size_t start_end, const sip_limits *limits, const sip_line *lines,
                   sip_index *index);
} instruction_set;

/* What this machine can, best first.  The words of short_id are little-endian. */
static const instruction_set instruction_sets[] = {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#if defined(SIP_HAS_AVX2)
    {"avx2", avx2_fast_lines, avx2_fast_values},
#endif
#if defined(SIP_HAS_SSE2)
    {"sse2", sse2_fast_lines, portable_fast_values},
#endif
#if defined(SIP_HAS_NEON)
    {"neon", neon_fast_lines, neon_fast_values},
#endif
    {"portable", portable_fast_lines, portable_fast_values},
#endif
    {"scalar", NULL, NULL}       /* index_lines and scan_values alone */
};

#define INSTRUCTION_SETS (sizeof instruction_sets / sizeof *instruction_sets)

static const instruction_set *chosen_instruction_set;

#if defined(SIP_HAS_AVX2)
#define SAVED_REGISTERS 6u       /* of XCR0: the kernel keeps the SSE and AVX registers of each thread */

/* Asked of the processor itself: __builtin_cpu_supports is never true with the library of some compilers (zig). */
static int has_avx2_and_bmi(void)
{
    unsigned a, b, c, d, saved, upper;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
        return 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));
    return (saved & SAVED_REGISTERS) == SAVED_REGISTERS && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (b & bit_AVX2) && (b & bit_BMI);
}
#endif

static int can_run(const char *name)
{
#if defined(SIP_HAS_AVX2)
    if (!strcmp(name, "avx2"))
        return has_avx2_and_bmi();
#endif
    return name != NULL;
}

const char *sip_instruction_set(size_t number)
{
    return number < INSTRUCTION_SETS && can_run(instruction_sets[number].name) ? instruction_sets[number].name : NULL;
}

int sip_use_instruction_set(const char *name)
{
    size_t i;

    for (i = 0; i < INSTRUCTION_SETS; i++)
        if (!strcmp(name, instruction_sets[i].name) && can_run(name)) {
            chosen_instruction_set = instruction_sets + i;
            return 0;
        }
    return -1;
}

static inline const instruction_set *best_instruction_set(void)
{
    const instruction_set *one = instruction_sets;

    if (__builtin_expect(!chosen_instruction_set, 0)) {
        while (!can_run(one->name))
            one++;
        chosen_instruction_set = one;
    }
    return chosen_instruction_set;
}

#endif
