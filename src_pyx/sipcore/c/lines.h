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

static inline void note_line(sip_index *index, int id, size_t at, const sip_limits *limits)
{
    index->present[id >> 6] |= 1ull << (id & 63);
    if (id && id < SIP_FIRST_COUNT) {
        if (!index->first[id])
            index->first[id] = (uint16_t)(index->line_count + 1);
        else if (SINGLE_HEADERS >> id & 1 &&
                 !(id == SIP_CONTENT_LENGTH && limits->lenience & SIP_LENIENT_EQUAL_LENGTHS))
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
    note_line(index, id, at, limits);
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

#endif
