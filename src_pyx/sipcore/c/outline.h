/* outline.h - just enough of a request to refuse it, or to know that it was seen before.  Part of scan.c.
 *
 * A server that is overloaded looks here first: only the lines that a response copies are found, and of their values
 * only what identifies the transaction (RFC 3261 section 17.2.3) and shows that the request begins something new (no
 * To tag).  Whatever is out of the ordinary is left to the scan. */
#ifndef SIPCORE_OUTLINE_H
#define SIPCORE_OUTLINE_H

#include <string.h>

#include "chars.h"
#include "names_lookup.h"
#include "scan.h"

#define OUTLINE_LINES 16u        /* lines that a response copies; with more the request is not plain */

/* Methods that may be refused before they are read. */
static int is_new_work(int method)
{
    return method && method != SIP_METHOD_ACK && method != SIP_METHOD_CANCEL && method != SIP_METHOD_BYE &&
           method != SIP_METHOD_PRACK;
}

/* Whether quotes, if any, hold the whole value of a parameter, as in oc-algo="loss": no ';' can be inside of them. */
static inline int is_quoted_at_the_end(const char *p, size_t size)
{
    const char *quote = memchr(p, '"', size), *last = p + size - 1;

    return !quote || (quote < last && *last == '"' && memchr(quote + 1, '"', (size_t)(last - quote)) == last &&
                      !memchr(quote, '\\', (size_t)(last - quote)));
}

/* One parameter of the top Via at ';' or the end; where the next one begins, NULL when it is not plain. */
static inline const char *outline_via_parameter(const char *octets, const char *p, const char *end, int has_quotes,
                                                sip_index *index)
{
    const char *next = memchr(p, ';', (size_t)(end - p));
    size_t size = (size_t)((next ? next : end) - p);

    if (has_quotes && !is_quoted_at_the_end(p, size))
        return NULL;
    if (size > 7 && !memcmp(p, "branch=", 7)) {
        if (index->branch.size)
            return NULL;
        index->branch.at = (uint16_t)(p + 7 - octets);
        index->branch.size = (uint16_t)(size - 7);
    } else if (size >= 5 && IS_WORD(p, 5, "rport")) {
        if (size > 5 || index->flags & SIP_HAS_RPORT)
            return NULL;
        index->flags |= SIP_HAS_RPORT;
        index->rport_at = (uint16_t)(p + 5 - octets);
    } else if (size >= 6 && IS_WORD(p, 6, "branch")) {
        return NULL;
    }
    return next ? next + 1 : end;
}

/* "SIP/2.0/UDP host[:port];branch=z9hG4bK...", one value, no white space. */
static int outline_via(const char *octets, const sip_line *line, sip_index *index)
{
    const char *value = octets + line->value_at, *end = value + line->value_size, *p;
    static const char magic[7] = {'z', '9', 'h', 'G', '4', 'b', 'K'};
    size_t left;
    int has_quotes;

    if (line->value_size < 24 || memcmp(value, "SIP/2.0/UDP ", 12))
        return 0;
    value += 12;
    left = (size_t)(end - value);
    p = memchr(value, ';', left);
    has_quotes = memchr(value, '"', left) != NULL;
    if (!p || p == value || memchr(value, ',', left) || memchr(value, ' ', left) || memchr(value, '\t', left) ||
        (has_quotes && memchr(value, '"', (size_t)(p - value))))
        return 0;
    index->top_via = (sip_span){line->value_at, line->value_size};
    index->top_via_transport = SIP_TRANSPORT_UDP;
    index->sent_by = (sip_span){(uint16_t)(value - octets), (uint16_t)(p - value)};
    for (p++; p < end;)
        if (!(p = outline_via_parameter(octets, p, end, has_quotes, index)))
            return 0;
    return index->branch.size > sizeof magic && !memcmp(octets + index->branch.at, magic, sizeof magic);
}

static inline uint32_t small_word(const char *p)
{
    uint32_t word;

    memcpy(&word, p, 4);
    return word | 0x20202020u;
}

static inline uint32_t word_of(char a, char b, char c, char d)
{
    char octets[4] = {a, b, c, d};
    uint32_t word;

    memcpy(&word, octets, 4);
    return word;
}

/* The name at p, with 8 octets readable, if a response copies its header: its number and *size; else SIP_OTHER. */
static inline int outline_name(const char *p, unsigned *size)
{
    uint32_t word = small_word(p);

    *size = 4;
    if (word == word_of('f', 'r', 'o', 'm'))
        return SIP_FROM;
    if (word == word_of('c', 's', 'e', 'q'))
        return SIP_CSEQ;
    *size = 7;
    if (word == word_of('c', 'a', 'l', 'l') && (small_word(p + 3) == word_of('l', '-', 'i', 'd')))
        return SIP_CALL_ID;
    *size = 3;
    if ((p[0] | 0x20) == 'v' && (p[1] | 0x20) == 'i' && (p[2] | 0x20) == 'a')
        return SIP_VIA;
    *size = 2;
    if ((p[0] | 0x20) == 't' && (p[1] | 0x20) == 'o')
        return SIP_TO;
    *size = 1;
    switch (p[0] | 0x20) {
    case 'v':
        return SIP_VIA;
    case 'f':
        return SIP_FROM;
    case 't':
        return SIP_TO;
    case 'i':
        return SIP_CALL_ID;
    default:
        return SIP_OTHER;
    }
}

/* Keep the line octets[p..stop) of a header that a response copies; 0 when it is not plain. */
static int outline_copied(const char *octets, const char *p, const char *stop, int id, unsigned name_size,
                          sip_line *lines, sip_index *index)
{
    sip_line *line = lines + index->line_count;
    const char *value = p + name_size + (p[name_size + 1] == ' ' ? 2 : 1);

    if (index->line_count == OUTLINE_LINES || (index->first[id] && id != SIP_VIA) || value >= stop ||
        (unsigned char)*value <= ' ' || (unsigned char)stop[-1] <= ' ' || memchr(value, '\r', (size_t)(stop - value)))
        return 0;
    line->name_at = (uint16_t)(p - octets);
    line->value_at = (uint16_t)(value - octets);
    line->value_size = (uint16_t)(stop - value);
    line->name_size = (uint8_t)name_size;
    line->id = (uint8_t)id;
    index->line_count++;
    if (index->first[id])
        return 1;
    index->first[id] = index->line_count;
    switch (id) {
    case SIP_VIA:
        return outline_via(octets, line, index);
    case SIP_TO:
        return stop[-1] == '>';      /* its URI in brackets is the end of it: there is no tag */
    case SIP_CALL_ID:
        index->call_id = (sip_span){line->value_at, line->value_size};
        return 1;
    default:
        return 1;
    }
}

/* The line octets[p..stop), which ends with CR LF; 0 when it is not plain. */
static inline int outline_line(const char *octets, const char *p, const char *stop, sip_line *lines, sip_index *index)
{
    unsigned size;
    int id;

    if (*p == ' ' || *p == '\t')
        return 0;
    id = outline_name(p, &size);
    if (id == SIP_OTHER || is_char((unsigned char)p[size], CHAR_TOKEN))
        return 1;
    return p[size] == ':' && outline_copied(octets, p, stop, id, size, lines, index);
}

int sip_outline(const char *octets, size_t size, sip_line *lines, size_t room, sip_index *index)
{
    const char *end = octets + (size < SIP_HEAD_MAX ? size : SIP_HEAD_MAX), *p, *stop;

    memset(index, 0, sizeof *index);
    p = memchr(octets, ' ', size < 16 ? size : 16);
    if (!p || room < OUTLINE_LINES)
        return 0;
    index->method = index->cseq_method = (uint8_t)sip_method_id(octets, (size_t)(p - octets));
    if (!is_new_work(index->method))
        return 0;
    index->method_token.size = (uint16_t)(p - octets);
    p = memchr(p, '\n', (size_t)(end - p));
    if (!p || p - octets < 12 || memcmp(p - 9, " SIP/2.0\r", 9))
        return 0;
    for (p++; end - p >= 2; p = stop + 1) {
        stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop || stop[-1] != '\r')
            return 0;
        if (stop - 1 == p) {
            index->is_head_whole = 1;
            index->size = (uint32_t)size;
            index->body_at = (uint32_t)(stop + 1 - octets);
            return index->first[SIP_VIA] && index->first[SIP_FROM] && index->first[SIP_TO] &&
                   index->first[SIP_CALL_ID] && index->first[SIP_CSEQ];
        }
        if (end - p < 8 || !outline_line(octets, p, stop - 1, lines, index))
            return 0;
    }
    return 0;
}

#endif
