/* values.h - URIs, name-addrs, Via values and CSeq (RFC 3261 sections 19, 20, 25).  Part of scan.c.
 *
 * White space inside a header value may be a fold: CR and LF that stand in one
 * are always followed by a space or tab, so they count as white space here. */
#ifndef SIPCORE_VALUES_H
#define SIPCORE_VALUES_H

#include <string.h>

#include "chars.h"
#include "scan.h"

static inline sip_span span_of(const char *text, const char *from, const char *to)
{
    sip_span span = {(uint16_t)(from - text), (uint16_t)(to - from)};
    return span;
}

int64_t sip_parse_number(const char *text, size_t size, int64_t maximum)
{
    int64_t number = 0;
    size_t i;

    if (!size)
        return -1;
    for (i = 0; i < size; i++) {
        if (!is_char((unsigned char)text[i], CHAR_DIGIT))
            return -1;
        number = number * 10 + (text[i] - '0');
        if (number > maximum)
            return -1;
    }
    return number;
}

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

/* ---- URIs */

static const char *skip_port(const char *p, const char *end, int32_t *port)
{
    const char *from = p;

    p = skip_class(p, end, CHAR_DIGIT);
    *port = (int32_t)sip_parse_number(from, (size_t)(p - from), 65535);
    return *port > 0 ? p : NULL;
}

static inline int is_hex(char c)
{
    return is_char((unsigned char)c, CHAR_DIGIT) || (unsigned)((c | 0x20) - 'a') < 6u;
}

/* Host without port at p: a name, an IPv4 address or a bracketed IPv6 one; NULL if there is none. */
static const char *skip_host(const char *text, const char *p, const char *end, sip_span *host, int *is_ipv6)
{
    const char *from = p;

    *is_ipv6 = p < end && *p == '[';
    if (!*is_ipv6) {
        p = skip_class(p, end, CHAR_HOST);
        *host = span_of(text, from, p);
        return p > from ? p : NULL;
    }
    for (p++; p < end && *p != ']'; p++)
        if (!is_hex(*p) && *p != ':' && *p != '.')
            return NULL;
    if (p == end || p == from + 1)
        return NULL;
    *host = span_of(text, from + 1, p);
    return p + 1;
}

/* The first octet of p..end that may not stand in a URI, or begins a broken escape. */
static const char *skip_uri_text(const char *p, const char *end)
{
    for (; p < end && is_char((unsigned char)*p, CHAR_URI); p++)
        if (*p == '%' && (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2])))
            break;
    return p;
}

static const char *parse_user(const char *text, const char *p, const char *at_sign, sip_uri *uri)
{
    const char *colon = memchr(p, ':', (size_t)(at_sign - p));
    const char *user_end = colon ? colon : at_sign;
    const char *stop = skip_uri_text(p, at_sign);

    if (stop != at_sign || user_end == p)
        return NULL;
    uri->flags |= SIP_URI_HAS_USER;
    uri->user = span_of(text, p, user_end);
    if (colon) {
        uri->flags |= SIP_URI_HAS_PASSWORD;
        uri->password = span_of(text, colon + 1, at_sign);
    }
    return at_sign + 1;
}

/* `;name[=value]` pairs up to '?' or the end: the first octet that does not belong, the ';' of an empty or broken one. */
static const char *skip_uri_parameters(const char *p, const char *end)
{
    const char *from;

    while (p < end && *p == ';') {
        from = ++p;
        while (p < end && *p != ';' && *p != '?' && is_char((unsigned char)*p, CHAR_URI))
            p++;
        if (p == from || *from == '=' || skip_uri_text(from, p) != p)
            return from - 1;
    }
    return p;
}

/* `[user@]host[:port][;parameters]` without escapes, password or headers, the way nearly all are written: where it
 * ends, or NULL for what parse_sip_uri has to look at. */
static inline const char *parse_plain_uri(const char *text, const char *p, const char *end, sip_uri *uri)
{
    const char *from = p;
    int32_t port = 0;

    p = skip_class(p, end, CHAR_PLAIN);
    if (p < end && *p == '@' && p > from) {
        uri->user = span_of(text, from, p);
        from = ++p;
        p = skip_class(p, end, CHAR_HOST);
    } else if (skip_class(from, p, CHAR_HOST) != p) {
        return NULL;
    }
    uri->host = span_of(text, from, p);
    if (p == from)
        return NULL;
    if (p < end && *p == ':') {
        for (from = ++p; p < end && p < from + 5 && is_char((unsigned char)*p, CHAR_DIGIT); p++)
            port = port * 10 + (*p - '0');
        if (!port || port > 65535)
            return NULL;
        uri->port = port;
    }
    from = p;
    while (p < end && *p == ';' && p + 1 < end && is_char((unsigned char)p[1], CHAR_PLAIN) && p[1] != '=')
        p = skip_class(p + 1, end, CHAR_PLAIN);
    uri->parameters = span_of(text, from, p);
    if (uri->user.size)
        uri->flags |= SIP_URI_HAS_USER;
    return p;
}

/* The same with its scheme in front, which is sip. */
static inline const char *begin_plain_uri(const char *text, const char *p, const char *end, sip_uri *uri)
{
    memset(uri, 0, sizeof *uri);
    uri->port = -1;
    if (!BEGINS(p, end, "sip:"))
        return NULL;
    uri->flags = SIP_URI_IS_SIP;
    uri->scheme = span_of(text, p, p + 3);
    uri->opaque = span_of(text, p + 4, end);
    return parse_plain_uri(text, p + 4, end, uri);
}

static int parse_sip_uri(const char *text, const char *p, const char *end, sip_uri *uri, const char **stop)
{
    const char *at_sign = memchr(p, '@', (size_t)(end - p));
    const char *from;
    int is_ipv6;

    *stop = p;
    if (at_sign && !(p = parse_user(text, p, at_sign, uri)))
        return -1;
    *stop = p;
    p = skip_host(text, p, end, &uri->host, &is_ipv6);
    if (!p)
        return -1;
    if (is_ipv6)
        uri->flags |= SIP_URI_IS_IPV6;
    if (p < end && *p == ':') {
        *stop = p + 1;
        p = skip_port(p + 1, end, &uri->port);
        if (!p)
            return -1;
    }
    from = p;
    p = skip_uri_parameters(p, end);
    uri->parameters = span_of(text, from, p);
    if (p < end && *p == '?') {
        uri->flags |= SIP_URI_HAS_HEADERS;
        from = p + 1;
        p = skip_uri_text(from, end);
        uri->headers = span_of(text, from, p);
    }
    *stop = p;
    return p == end ? 0 : -1;
}

static int parse_opaque_uri(const char *text, const char *p, const char *end, sip_uri *uri, const char **stop)
{
    const char *from = p;

    p = skip_class(p, end, CHAR_URI);
    *stop = p;
    if (p != end || p == from)
        return -1;
    if (uri->flags & SIP_URI_IS_TEL) {
        p = memchr(from, ';', (size_t)(end - from));
        if (p)
            uri->parameters = span_of(text, p, end);
        *stop = from;
        return p == from || (p && skip_uri_parameters(p, end) != end) ? -1 : 0;
    }
    return 0;
}

int sip_parse_uri(const char *text, size_t from, size_t to, sip_uri *uri, size_t *at)
{
    const char *start = text + from, *end = text + to, *p = start, *stop;
    size_t scheme_size;
    int result;

    *at = from;
    if (to > SIP_HEAD_MAX || from >= to)
        return -1;
    if (begin_plain_uri(text, start, end, uri) == end)
        return 0;
    memset(uri, 0, sizeof *uri);
    uri->port = -1;
    if (!is_char((unsigned char)*p, CHAR_ALPHA))
        return -1;
    while (p < end && (*p == '+' || (is_char((unsigned char)*p, CHAR_HOST) && *p != '_')))
        p++;
    *at = (size_t)(p - text);
    if (p == end || *p != ':')
        return -1;
    uri->scheme = span_of(text, start, p);
    scheme_size = (size_t)(p - start);
    uri->opaque = span_of(text, p + 1, end);
    if (IS_WORD(start, scheme_size, "sip"))
        uri->flags = SIP_URI_IS_SIP;
    else if (IS_WORD(start, scheme_size, "sips"))
        uri->flags = SIP_URI_IS_SIP | SIP_URI_IS_SIPS;
    else if (IS_WORD(start, scheme_size, "tel"))
        uri->flags = SIP_URI_IS_TEL;
    if (uri->flags & SIP_URI_IS_SIP)
        result = parse_sip_uri(text, p + 1, end, uri, &stop);
    else
        result = parse_opaque_uri(text, p + 1, end, uri, &stop);
    *at = (size_t)(stop - text);
    return result;
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
            via->rport = 0;
            if (parameter->has_value)
                via->rport = (int32_t)sip_parse_number(value, parameter->value.size, 65535);
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
