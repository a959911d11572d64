/* uri.h - URIs (RFC 3261 sections 19.1 and 25.1, RFC 3966).  Part of scan.c. */
#ifndef SIPCORE_URI_H
#define SIPCORE_URI_H

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

/* A port from 1 to 65535, or -1. */
static inline int32_t parse_port(const char *text, size_t size)
{
    int64_t port = sip_parse_number(text, size, 65535);

    return port > 0 ? (int32_t)port : -1;
}

static const char *skip_port(const char *p, const char *end, int32_t *port)
{
    const char *from = p;

    p = skip_class(p, end, CHAR_DIGIT);
    *port = parse_port(from, (size_t)(p - from));
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

#endif
