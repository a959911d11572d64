/* lines.h - the header lines of a message, one pass (RFC 3261 section 7.3).  Part of scan.c. */
#ifndef SIPCORE_LINES_H
#define SIPCORE_LINES_H

#include <string.h>

#include "chars.h"
#include "names_lookup.h"
#include "scan.h"
#include "simd.h"

/* Headers of which a message has at most one; two are refused (RFC 4475 sections 3.3.8 and 3.3.9). */
#define SINGLE_HEADERS                                                                          \
    (1u << SIP_FROM | 1u << SIP_TO | 1u << SIP_CALL_ID | 1u << SIP_CSEQ | 1u << SIP_MAX_FORWARDS | \
     1u << SIP_CONTENT_LENGTH)

static inline void note_fault(sip_index *index, int fault, size_t at)
{
    if (index->fault)
        return;
    index->fault = (uint8_t)fault;
    index->fault_at = (uint32_t)at;
}

/* The first CR or LF from p on, or end. */
static inline const char *find_line_end(const char *p, const char *end)
{
    while (p < end && *p != '\r' && *p != '\n')
        p++;
    return p;
}

/* Just after the line end at p (CR LF), or NULL when it is not one and the reader must resume at *resume. */
static inline const char *skip_line_end(const char *p, const char *end, const char **resume)
{
    if (*p == '\r' && p + 1 < end && p[1] == '\n')
        return p + 2;
    *resume = p + 1;
    return NULL;
}

static inline void note_line(sip_index *index, int id, size_t at)
{
    index->present[id >> 6] |= 1ull << (id & 63);
    if (id && id < SIP_FIRST_COUNT) {
        if (!index->first[id])
            index->first[id] = (uint16_t)(index->line_count + 1);
        else if (SINGLE_HEADERS >> id & 1)
            note_fault(index, SIP_FAULT_REPEATED, at);
    }
}

/* One header: octets p..stop without its last line end. */
static void index_line(const char *octets, const char *p, const char *stop, int is_folded,
                       const sip_limits *limits, sip_line *lines, size_t room, sip_index *index)
{
    const char *name_end = skip_class(p, stop, CHAR_TOKEN), *value = name_end;
    size_t at = (size_t)(p - octets), name_size = (size_t)(name_end - p);
    sip_line *line = lines + index->line_count;
    int id;

    if ((size_t)(stop - p) > limits->line_size) {
        note_fault(index, SIP_FAULT_LINE_SIZE, at);
        return;
    }
    while (value < stop && (*value == ' ' || *value == '\t'))
        value++;
    if (!name_size || value == stop || *value != ':') {
        note_fault(index, SIP_FAULT_HEADER_NAME, (size_t)(value - octets));
        return;
    }
    if (name_size > limits->name_size) {
        note_fault(index, SIP_FAULT_NAME_SIZE, at);
        return;
    }
    id = sip_header_id(p, name_size);
    value = skip_white(value + 1, stop);
    stop = trim_end(value, stop);
    note_line(index, id, at);
    if (index->line_count < room) {
        line->name_at = (uint16_t)at;
        line->value_at = (uint16_t)(value - octets);
        line->value_size = (uint16_t)(stop - value);
        line->name_size = (uint8_t)name_size;
        line->id = (uint8_t)(is_folded ? id | (int)SIP_FOLDED : id);
    }
    index->line_count++;
}

/* Index the header lines from p on.  Just after the empty line that ends the
 * head, or NULL when `end` came first. */
static const char *index_lines(const char *octets, const char *p, const char *end, const sip_limits *limits,
                               sip_line *lines, size_t room, sip_index *index)
{
    const char *start, *stop, *next;
    int is_folded;

    while (p < end) {
        start = p;
        is_folded = 0;
        for (;;) {
            stop = find_line_end(p, end);
            if (stop == end || (*stop == '\r' && stop + 1 == end))
                return NULL;
            next = skip_line_end(stop, end, &p);
            if (!next) {
                note_fault(index, SIP_FAULT_LINE_END, (size_t)(stop - octets));
                continue;
            }
            if (stop == start)
                return next;
            p = next;
            if (p == end || (*p != ' ' && *p != '\t'))
                break;
            is_folded = 1;
        }
        if (index->line_count >= limits->line_count) {
            note_fault(index, SIP_FAULT_LINE_COUNT, (size_t)(start - octets));
            return NULL;
        }
        index_line(octets, start, stop, is_folded, limits, lines, room, index);
    }
    return NULL;
}

/* ---- the same for a head without faults, many octets at a time */

#define FAST_LINES 2048u         /* of the positions that are kept on the stack */

/* Number of the header whose name is p[0..size) with 1 <= size <= 15, 16 octets being readable; -1 if it is no token.
 * Setting bit 5 of an octet makes a capital small and leaves "-" as it is; the octet that it would make a "-" is CR,
 * which no name here holds. */
ALWAYS_INLINE int short_id(const char *p, unsigned size)
{
    static const uint64_t kept[16][2] = {
        {0, 0}, {0xff, 0}, {0xffff, 0}, {0xffffff, 0}, {0xffffffff, 0}, {0xffffffffff, 0}, {0xffffffffffff, 0},
        {0xffffffffffffff, 0}, {~0ull, 0}, {~0ull, 0xff}, {~0ull, 0xffff}, {~0ull, 0xffffff}, {~0ull, 0xffffffff},
        {~0ull, 0xffffffffff}, {~0ull, 0xffffffffffff}, {~0ull, 0xffffffffffffff}
    };
    uint64_t low, high, wanted[2];
    unsigned spelling;

    memcpy(&low, p, 8);
    memcpy(&high, p + 8, 8);
    low = (low | 0x20 * EACH_OCTET) & kept[size][0];
    high = (high | 0x20 * EACH_OCTET) & kept[size][1];
    spelling = sip_word_slots[sip_word_slot(low, high)];
    memcpy(wanted, sip_spelling_text[spelling], 16);
    if (low == wanted[0] && high == wanted[1])
        return sip_spelling_header[spelling];
    return sip_is_token(p, size) ? SIP_OTHER : -1;
}

/* A line whose name is longer than a vector, or has white space before its colon; its number, or -1. */
static int index_long_name(const char *octets, size_t start, size_t stop, const sip_limits *limits, sip_line *line)
{
    const char *p = octets + start, *end = octets + stop, *name_end = skip_class(p, end, CHAR_TOKEN), *value = name_end;
    size_t size = (size_t)(name_end - p);

    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    if (!size || size > limits->name_size || value == end || *value != ':')
        return -1;
    value = skip_white(value + 1, end);
    end = trim_end(value, end);
    line->name_at = (uint16_t)start;
    line->value_at = (uint16_t)(value - octets);
    line->value_size = (uint16_t)(end - value);
    line->name_size = (uint8_t)size;
    line->id = (uint8_t)sip_header_id(p, size);
    return line->id;
}

/* Header lines among `count` line ends, of which the first is the start line's and the last the empty line's. */
static size_t count_lines(const char *octets, const uint16_t *ends, size_t count)
{
    size_t i, lines = 0;

    for (i = 1; i < count - 1; i++)
        lines += octets[ends[i] + 1] != ' ' && octets[ends[i] + 1] != '\t';
    return lines;
}

typedef const char *(*fast_lines_function)(const char *octets, size_t size, size_t *start_end,
                                           const sip_limits *limits, sip_line *lines, size_t room, sip_index *index);

#define TARGET
#define LINES(name_) portable_##name_
#define SIMD(name_) portable_##name_
#include "lines_fast.h"

#if defined(SIP_HAS_SSE2)
#define TARGET
#define LINES(name_) sse2_##name_
#define SIMD(name_) sse2_##name_
#include "lines_fast.h"
#endif

#if defined(SIP_HAS_AVX2)
#define avx2_mask_of_16 sse2_mask_of_16
#define TARGET AVX2
#define LINES(name_) avx2_##name_
#define SIMD(name_) avx2_##name_
#include "lines_fast.h"
#endif

#if defined(SIP_HAS_NEON)
#define TARGET
#define LINES(name_) neon_##name_
#define SIMD(name_) neon_##name_
#include "lines_fast.h"
#endif

/* What this machine can, best first.  The words of short_id are little-endian. */
static const struct { const char *name; fast_lines_function lines; } instruction_sets[] = {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#if defined(SIP_HAS_AVX2)
    {"avx2", avx2_fast_lines},
#endif
#if defined(SIP_HAS_SSE2)
    {"sse2", sse2_fast_lines},
#endif
#if defined(SIP_HAS_NEON)
    {"neon", neon_fast_lines},
#endif
    {"portable", portable_fast_lines},
#endif
    {"scalar", NULL}             /* index_lines alone */
};

#define INSTRUCTION_SETS (sizeof instruction_sets / sizeof *instruction_sets)

static int chosen_instruction_set = -1;

static int can_run(const char *name)
{
#if defined(SIP_HAS_AVX2)
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
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
            chosen_instruction_set = (int)i;
            return 0;
        }
    return -1;
}

static fast_lines_function fast_lines(void)
{
    size_t i = 0;

    if (__builtin_expect(chosen_instruction_set < 0, 0)) {
        while (!can_run(instruction_sets[i].name))
            i++;
        chosen_instruction_set = (int)i;
    }
    return instruction_sets[chosen_instruction_set].lines;
}

#endif
