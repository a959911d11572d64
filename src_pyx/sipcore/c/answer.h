/* answer.h - a response straight from the index of its request (RFC 3261 section 8.2.6).  Part of scan.c. */
#ifndef SIPCORE_ANSWER_H
#define SIPCORE_ANSWER_H

#include <string.h>

#include "chars.h"
#include "restraint.h"
#include "scan.h"

#define CONTENT_LENGTH_ROOM 32u
#define SOURCE_ROOM 32u          /* ";received=[" "]" and "=65535" */

static inline char *put_number(char *out, uint32_t number)
{
    char digits[10];
    size_t size = 0;

    do
        digits[sizeof digits - ++size] = (char)('0' + number % 10);
    while (number /= 10);
    return put(out, digits + sizeof digits - size, size);
}

size_t sip_response_room(const sip_index *index, const sip_answer *answer)
{
    size_t head = index->body_at ? index->body_at : SIP_HEAD_MAX;
    size_t phrase = answer->reason_phrase ? answer->reason_phrase_size : 64;
    size_t source = answer->source ? SOURCE_ROOM + answer->source->host_size + answer->source->restraint_size : 0;

    return head + 16 + phrase + source + 5 + answer->to_tag_size + answer->header_lines_size +
           CONTENT_LENGTH_ROOM + 4 * (size_t)index->line_count + answer->body_size;
}

static char *put_status_line(char *out, const sip_answer *answer)
{
    const sip_phrase *phrase = answer->reason_phrase ? NULL : sip_reason_phrase(answer->status_code);

    out = put(out, "SIP/2.0 ", 8);
    out = put_number(out, (uint32_t)answer->status_code);
    *out++ = ' ';
    if (phrase)
        out = put(out, phrase->text, phrase->size);
    else
        out = put(out, answer->reason_phrase, answer->reason_phrase_size);
    return put(out, "\r\n", 2);
}

/* A header line as it came, from its name to its line end. */
static inline char *put_line(char *out, const char *octets, const sip_line *line)
{
    out = put(out, octets + line->name_at, (size_t)line->value_at + line->value_size - line->name_at);
    return put(out, "\r\n", 2);
}

static int is_sent_by_host(const char *octets, const sip_index *index, const sip_source *source)
{
    const char *sent_by = octets + index->sent_by.at;
    size_t size = source->host_size;

    if (index->sent_by.size && *sent_by == '[')
        return index->sent_by.size >= size + 2 && !memcmp(sent_by + 1, source->host, size) && sent_by[size + 1] == ']';
    return index->sent_by.size >= size && !memcmp(sent_by, source->host, size) &&
           (index->sent_by.size == size || sent_by[size] == ':' || sent_by[size] == ' ');
}

/* The first Via line, with rport filled in, and received and what is asked of the client added to its first value. */
static char *put_top_via(char *out, const char *octets, const sip_index *index, const sip_line *line,
                         const sip_source *source)
{
    size_t at = line->name_at, via_end = (size_t)index->top_via.at + index->top_via.size;
    size_t line_end = (size_t)line->value_at + line->value_size;
    int is_told = source->restraint_size;

    if (index->flags & SIP_HAS_RPORT) {
        out = put_via_part(out, octets, at, index->rport_at, is_told);
        *out++ = '=';
        out = put_number(out, source->port);
        at = index->rport_at;
    }
    out = put_via_part(out, octets, at, via_end, is_told);
    if (is_told)
        out = put(out, source->restraint, source->restraint_size);
    if (index->flags & SIP_HAS_RPORT || !is_sent_by_host(octets, index, source)) {
        out = put(out, ";received=", 10);
        out = put(out, source->host, source->host_size);
    }
    out = put(out, octets + via_end, line_end - via_end);
    return put(out, "\r\n", 2);
}

static char *put_to(char *out, const char *octets, const sip_index *index, const sip_line *line,
                    const sip_answer *answer)
{
    out = put_line(out, octets, line);
    if (index->to_tag.size || answer->status_code == 100 || !answer->to_tag_size)
        return out;
    out = put(out - 2, ";tag=", 5);
    out = put(out, answer->to_tag, answer->to_tag_size);
    return put(out, "\r\n", 2);
}

static char *put_copied_lines(char *out, const char *octets, const sip_index *index, const sip_line *lines,
                              const sip_answer *answer)
{
    int is_top = 1;
    size_t i;

    for (i = 0; i < index->line_count; i++) {
        switch (lines[i].id & SIP_ID_MASK) {
        case SIP_VIA:
            if (is_top && answer->source && index->top_via.size)
                out = put_top_via(out, octets, index, lines + i, answer->source);
            else
                out = put_line(out, octets, lines + i);
            is_top = 0;
            break;
        case SIP_TO:
            out = put_to(out, octets, index, lines + i, answer);
            break;
        case SIP_TIMESTAMP:
            if (answer->status_code == 100)
                out = put_line(out, octets, lines + i);
            break;
        case SIP_RECORD_ROUTE:
            if (answer->keeps_record_route)
                out = put_line(out, octets, lines + i);
            break;
        case SIP_FROM:
        case SIP_CALL_ID:
        case SIP_CSEQ:
            out = put_line(out, octets, lines + i);
            break;
        default:
            break;
        }
    }
    return out;
}

size_t sip_write_response(const char *octets, const sip_index *index, const sip_line *lines,
                          const sip_answer *answer, char *out, size_t room)
{
    char *start = out;

    if (!index->first[SIP_VIA] || sip_response_room(index, answer) > room)
        return 0;
    out = put_status_line(out, answer);
    out = put_copied_lines(out, octets, index, lines, answer);
    if (answer->header_lines_size)
        out = put(out, answer->header_lines, answer->header_lines_size);
    out = put(out, "Content-Length: ", 16);
    out = put_number(out, (uint32_t)answer->body_size);
    out = put(out, "\r\n\r\n", 4);
    if (answer->body_size)
        out = put(out, answer->body, answer->body_size);
    return (size_t)(out - start);
}

/* Where the line behind number `at` begins, or the empty line. */
static size_t next_line_at(const sip_index *index, const sip_line *lines, size_t at)
{
    return at + 1 < index->line_count ? lines[at + 1].name_at : index->body_at - 2u;
}

int sip_top_via_span(const char *octets, const sip_index *index, const sip_line *lines, size_t *begin, size_t *end)
{
    size_t at = index->first[SIP_VIA], stop;
    const sip_line *line;

    if (!at || !index->body_at)
        return 0;
    line = lines + --at;
    stop = (size_t)line->value_at + line->value_size;
    *begin = line->value_at;
    *end = sip_list_value_end(octets, line->value_at, stop) + 1;
    while (*end < stop && is_white((unsigned char)octets[*end]))
        ++*end;
    if (*end < stop)
        return 1;
    *begin = line->name_at;
    *end = next_line_at(index, lines, at);
    return 1;
}

#endif
