/* values.h - name-addrs, Via values and CSeq (RFC 3261 sections 20 and 25).  Part of scan.c.
 *
 * White space inside a header value may be a fold: CR and LF that stand in one
 * are always followed by a space or tab, so they count as white space here. */
#ifndef SIPCORE_VALUES_H
#define SIPCORE_VALUES_H

#include <string.h>

#include "chars.h"
#include "scan.h"
#include "uri.h"

int sip_is_safe(const char *text, size_t size)
{
    size_t i;
    int bad = 0;

    for (i = 0; i < size; i++)
        bad |= (text[i] == '\r') | (text[i] == '\n') | (text[i] == 0);
    return !bad;
}

/* Whether one of the eight octets is CR, LF or NUL. */
static inline uint64_t has_unsafe(uint64_t word)
{
    uint64_t cr = word ^ '\r' * EACH_OCTET, lf = word ^ '\n' * EACH_OCTET;

    return (((word - EACH_OCTET) & ~word) | ((cr - EACH_OCTET) & ~cr) | ((lf - EACH_OCTET) & ~lf)) & 0x80 * EACH_OCTET;
}

static inline uint64_t copy_word(char *out, const char *text)
{
    uint64_t word;

    memcpy(&word, text, 8);
    memcpy(out, &word, 8);
    return has_unsafe(word);
}

int sip_copy_safe(char *out, const char *text, size_t size)
{
    uint64_t bad = 0;
    size_t i;

    if (size < 8) {
        memcpy(out, text, size);
        return sip_is_safe(text, size);
    }
    for (i = 0; i + 8 < size; i += 8)
        bad |= copy_word(out + i, text + i);
    return !(bad | copy_word(out + size - 8, text + size - 8));
}

int sip_is_token(const char *text, size_t size)
{
    return size && skip_class(text, text + size, CHAR_TOKEN) == text + size;
}

/* Just after the closing quote of the quoted string that starts at p, or NULL. */
static const char *skip_quoted(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return NULL;
}

/* `;name` or `;name=value` at p without white space or quotes, the way nearly all are written: its end, or NULL. */
static inline const char *skip_plain_parameter(const char *text, const char *p, const char *end,
                                               sip_parameter *parameter)
{
    const char *name = p + 1, *value;

    if (p == end || *p != ';')
        return NULL;
    p = value = skip_class(name, end, CHAR_TOKEN);
    parameter->name = span_of(text, name, p);
    parameter->has_value = p < end && *p == '=';
    if (parameter->has_value)
        p = skip_class(++value, end, CHAR_VALUE);
    parameter->value = span_of(text, value, p);
    if (!parameter->name.size || parameter->has_value == (p == value))
        return NULL;
    return p == end || *p == ';' || *p == ',' ? p : NULL;
}

int sip_next_parameter(const char *text, size_t to, size_t *at, sip_parameter *parameter)
{
    const char *end = text + to, *p = skip_plain_parameter(text, text + *at, end, parameter), *from;

    if (p) {
        *at = (size_t)(p - text);
        return 1;
    }
    p = skip_white(text + *at, end);

    *at = (size_t)(p - text);
    if (p == end || *p == ',')
        return 0;
    if (*p != ';')
        return -1;
    from = p = skip_white(p + 1, end);
    p = skip_class(p, end, CHAR_TOKEN);
    *at = (size_t)(p - text);
    if (p == from)
        return -1;
    parameter->name = span_of(text, from, p);
    parameter->has_value = 0;
    parameter->value = span_of(text, p, p);
    from = skip_white(p, end);
    if (from == end || *from != '=')
        return 1;
    from = skip_white(from + 1, end);
    if (from < end && *from == '"')
        p = skip_quoted(from, end);
    else
        p = skip_class(from, end, CHAR_VALUE);
    if (!p || p == from) {
        *at = (size_t)(from - text);
        return -1;
    }
    parameter->has_value = 1;
    parameter->value = span_of(text, from, p);
    *at = (size_t)(p - text);
    return 1;
}

size_t sip_list_value_end(const char *text, size_t from, size_t to)
{
    const char *p = text + from, *end = text + to;
    int in_brackets = 0;

    for (; p < end; p++) {
        if (*p == '"' && !in_brackets) {
            p = skip_quoted(p, end);
            if (!p)
                return to;
            p--;
        } else if (*p == '<') {
            in_brackets = 1;
        } else if (*p == '>') {
            in_brackets = 0;
        } else if (*p == ',' && !in_brackets) {
            break;
        }
    }
    return (size_t)(p - text);
}

/* ---- name-addr / addr-spec */

/* Parameters from p on, remembering the tag.  0, SIP_MALFORMED or SIP_CROWDED with *at set. */
static int parse_address_parameters(const char *text, const char *p, const char *end, uint32_t limit,
                                    sip_name_addr *address, size_t *at)
{
    const char *from = p;
    sip_parameter parameter;
    uint32_t count = 0;
    int found;

    *at = (size_t)(p - text);
    found = 0;
    while (text + *at < end && (found = sip_next_parameter(text, (size_t)(end - text), at, &parameter)) == 1) {
        if (++count > limit)
            return SIP_CROWDED;
        p = text + *at;
        if (parameter.name.size == 3 && !address->tag.size && IS_WORD(text + parameter.name.at, 3, "tag"))
            address->tag = parameter.value;
    }
    address->parameters = span_of(text, from, p);
    address->end = (uint16_t)*at;
    if (address->parameters.size)
        address->value.size = (uint16_t)(p - text - address->value.at);
    return found < 0 ? SIP_MALFORMED : 0;
}

static int parse_bracketed(const char *text, const char *p, const char *end, uint32_t limit,
                           sip_name_addr *address, sip_uri *uri, size_t *at)
{
    const char *close = begin_plain_uri(text, p + 1, end, uri);

    *at = (size_t)(p - text);
    if (!close || close == end || *close != '>') {
        close = memchr(p, '>', (size_t)(end - p));
        if (!close || sip_parse_uri(text, (size_t)(p + 1 - text), (size_t)(close - text), uri, at))
            return -1;
    } else {
        uri->opaque.size = (uint16_t)(close - text - uri->opaque.at);
    }
    address->flags |= SIP_ADDRESS_BRACKETS;
    address->uri = span_of(text, p + 1, close);
    address->value.size = (uint16_t)(close + 1 - text - address->value.at);
    return parse_address_parameters(text, skip_white(close + 1, end), end, limit, address, at);
}

/* addr-spec: a URI with a comma, question mark or semicolon needs brackets (RFC 3261 section 20). */
static int parse_bare(const char *text, const char *p, const char *end, uint32_t limit,
                      sip_name_addr *address, sip_uri *uri, size_t *at)
{
    const char *from = p;

    while (p < end && *p != ';' && *p != ',' && !is_white((unsigned char)*p))
        p++;
    if (sip_parse_uri(text, (size_t)(from - text), (size_t)(p - text), uri, at))
        return -1;
    address->uri = span_of(text, from, p);
    *at = (size_t)(from - text);
    if (memchr(from, '?', (size_t)(p - from)))
        return -1;
    address->value.size = (uint16_t)(p - text - address->value.at);
    return parse_address_parameters(text, skip_white(p, end), end, limit, address, at);
}

int sip_parse_address(const char *text, size_t from, size_t to, uint32_t limit, sip_name_addr *address,
                      sip_uri *uri, size_t *at)
{
    const char *end = text + to, *p, *start;

    memset(address, 0, sizeof *address);
    *at = from;
    if (to > SIP_HEAD_MAX || from > to)
        return -1;
    start = p = skip_white(text + from, end);
    address->value.at = (uint16_t)(start - text);
    if (p == end)
        return -1;
    if (*p == '<')
        return parse_bracketed(text, p, end, limit, address, uri, at);
    if (*p == '"') {
        p = skip_quoted(p, end);
        if (!p)
            return -1;
        address->flags |= SIP_ADDRESS_QUOTED;
        address->display_name = span_of(text, start, p);
        p = skip_white(p, end);
        *at = (size_t)(p - text);
        return p < end && *p == '<' ? parse_bracketed(text, p, end, limit, address, uri, at) : -1;
    }
    p = skip_class(p, end, CHAR_DISPLAY);
    if (p < end && *p == '<') {
        address->display_name = span_of(text, start, trim_end(start, p));
        return parse_bracketed(text, p, end, limit, address, uri, at);
    }
    return parse_bare(text, start, end, limit, address, uri, at);
}

/* ---- Via */

static const char *skip_slash(const char *p, const char *end)
{
    p = skip_white(p, end);
    return p < end && *p == '/' ? skip_white(p + 1, end) : NULL;
}

/* `SIP/2.0/UDP` and the white space after it, or NULL. */
static const char *parse_sent_protocol(const char *text, const char *p, const char *end, sip_via *via)
{
    const char *from = p;

    if (BEGINS(p, end, "SIP/2.0/")) {
        via->version = span_of(text, p + 4, p + 7);
        p = skip_white(p + 8, end);
    } else {
        p = skip_class(p, end, CHAR_TOKEN);
        if (p == from || !(p = skip_slash(p, end)))
            return NULL;
        from = p;
        p = skip_class(p, end, CHAR_TOKEN);
        via->version = span_of(text, from, p);
        if (p == from || !(p = skip_slash(p, end)))
            return NULL;
    }
    from = p;
    p = skip_class(p, end, CHAR_TOKEN);
    via->transport = span_of(text, from, p);
    via->transport_id = (uint8_t)sip_transport_id(from, (size_t)(p - from));
    from = p;
    p = skip_white(p, end);
    return p > from && via->transport.size ? p : NULL;
}

/* host [ ":" port ], white space allowed round the colon; or NULL. */
static const char *parse_sent_by(const char *text, const char *p, const char *end, sip_via *via)
{
    const char *from = p, *colon;
    int is_ipv6;

    p = skip_host(text, p, end, &via->host, &is_ipv6);
    if (!p)
        return NULL;
    via->is_ipv6 = (uint8_t)is_ipv6;
    colon = skip_white(p, end);
    if (colon < end && *colon == ':') {
        p = skip_port(skip_white(colon + 1, end), end, &via->port);
        if (!p)
            return NULL;
    }
    via->sent_by = span_of(text, from, p);
    return p;
}

static void note_via_parameter(const char *text, const sip_parameter *parameter, sip_via *via)
{
    const char *name = text + parameter->name.at, *value = text + parameter->value.at;

    switch (parameter->name.size) {
    case 6:
        if (!via->branch.size && IS_WORD(name, 6, "branch"))
            via->branch = parameter->value;
        break;
    case 8:
        if (!via->received.size && IS_WORD(name, 8, "received"))
            via->received = parameter->value;
        break;
    case 5:
        if (via->rport < 0 && IS_WORD(name, 5, "rport")) {
            via->rport_at = (uint16_t)(parameter->name.at + 5);
            via->rport = parameter->has_value ? parse_port(value, parameter->value.size) : 0;
        }
        break;
    default:
        break;
    }
}

int sip_parse_via(const char *text, size_t from, size_t to, uint32_t limit, sip_via *via, size_t *at)
{
    const char *end = text + to, *p, *value_end;
    sip_parameter parameter;
    uint32_t count = 0;
    int found;

    memset(via, 0, sizeof *via);
    via->port = via->rport = -1;
    *at = from;
    if (to > SIP_HEAD_MAX || from > to)
        return -1;
    p = skip_white(text + from, end);
    via->value.at = (uint16_t)(p - text);
    p = parse_sent_protocol(text, p, end, via);
    if (!p || !(value_end = parse_sent_by(text, p, end, via)))
        return -1;
    p = skip_white(value_end, end);
    via->parameters = span_of(text, p, p);
    via->value.size = (uint16_t)(value_end - text - via->value.at);
    *at = (size_t)(p - text);
    found = 0;
    while (*at < to && (found = sip_next_parameter(text, to, at, &parameter)) == 1) {
        if (++count > limit)
            return SIP_CROWDED;
        via->parameters.size = (uint16_t)(*at - via->parameters.at);
        via->value.size = (uint16_t)(*at - via->value.at);
        note_via_parameter(text, &parameter, via);
    }
    via->end = (uint16_t)*at;
    return found < 0 ? SIP_MALFORMED : 0;
}

int sip_parse_cseq(const char *text, size_t from, size_t to, uint32_t *number, sip_span *method, size_t *at)
{
    const char *end = text + to, *p = skip_white(text + from, end), *start = p;
    uint64_t value = 0;

    for (; p < end && is_char((unsigned char)*p, CHAR_DIGIT) && value < 0x80000000u; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    *at = from;
    if (p == start || value > 0x7fffffff || p == end || !is_white((unsigned char)*p))
        return -1;
    *number = (uint32_t)value;
    start = skip_white(p, end);
    p = skip_class(start, end, CHAR_TOKEN);
    *method = span_of(text, start, p);
    *at = (size_t)(p - text);
    return p > start && skip_white(p, end) == end ? 0 : -1;
}

#endif
