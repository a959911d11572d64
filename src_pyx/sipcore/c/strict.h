/* strict.h - what the grammar of RFC 3261 section 25.1 does not have and is read all the same, unless a flag of
 * sip_limits.lenience is taken away.  Part of scan.c: looks at values that were read, never on the usual way. */
#ifndef SIPCORE_STRICT_H
#define SIPCORE_STRICT_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#include "chars.h"
#include "lines.h"
#include "scan.h"
#include "values.h"

#define UNRESERVED_MARKS "-_.!~*'()"

static inline int is_lenient(const sip_limits *limits, uint32_t flag)
{
    return (limits->lenience & flag) != 0;
}

/* The first octet of a span that is no ASCII letter or digit and not in `marks`; or its end. */
static size_t first_foreign(const char *text, sip_span span, const char *marks)
{
    size_t at = span.at, end = at + span.size;
    uint64_t allowed[2] = {0, 0};

    for (; *marks; marks++)
        allowed[*marks >> 6] |= 1ull << (*marks & 63);
    while (at < end && (is_char((unsigned char)text[at], CHAR_ALPHA | CHAR_DIGIT) ||
                        (!(text[at] & 0x80) && allowed[text[at] >> 6] >> (text[at] & 63) & 1)))
        at++;
    return at;
}

static void check_octets(const char *text, sip_span span, const char *marks, int fault, sip_index *index)
{
    size_t at = first_foreign(text, span, marks);

    if (at < (size_t)span.at + span.size)
        note_fault(index, fault, at);
}

static int is_ipv6_address(const char *text, size_t size)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (size >= sizeof copy)
        return 0;
    memcpy(copy, text, size);
    copy[size] = 0;
    return inet_pton(AF_INET6, copy, &address) == 1;
}

static void check_host(const char *text, sip_span host, int is_ipv6, sip_index *index)
{
    if (!is_ipv6)
        check_octets(text, host, "-.", SIP_FAULT_HOST, index);
    else if (!is_ipv6_address(text + host.at, host.size))
        note_fault(index, SIP_FAULT_HOST, host.at);
}

static void check_uri(const char *text, const sip_uri *uri, const sip_limits *limits, sip_index *index)
{
    if (uri->flags & SIP_URI_IS_SIP && !is_lenient(limits, SIP_LENIENT_HOST))
        check_host(text, uri->host, uri->flags & SIP_URI_IS_IPV6, index);
    if (is_lenient(limits, SIP_LENIENT_URI))
        return;
    if (!(uri->flags & SIP_URI_IS_SIP)) {
        check_octets(text, uri->opaque, UNRESERVED_MARKS "%;/?:@&=+$,", SIP_FAULT_URI, index);
        return;
    }
    check_octets(text, uri->user, UNRESERVED_MARKS "%&=+$,;?/", SIP_FAULT_URI, index);
    check_octets(text, uri->password, UNRESERVED_MARKS "%&=+$,", SIP_FAULT_URI, index);
    check_octets(text, uri->parameters, UNRESERVED_MARKS "%;=[]/:&+$", SIP_FAULT_URI, index);
    check_octets(text, uri->headers, UNRESERVED_MARKS "%&=[]/?:+$", SIP_FAULT_URI, index);
}

/* Parameters that were read once, in text[from..to). */
static void check_parameters(const char *text, size_t from, size_t to, const sip_limits *limits, sip_index *index)
{
    sip_parameter parameter;

    if (is_lenient(limits, SIP_LENIENT_PARAMETER_VALUE))
        return;
    while (sip_next_parameter(text, to, &from, &parameter) == 1)
        if (parameter.has_value && text[parameter.value.at] != '"')
            check_octets(text, parameter.value, "-.!%*_+`'~[]:", SIP_FAULT_PARAMETER_VALUE, index);
}

/* *(token LWS), or a quoted string (RFC 3261 section 25.1, display-name). */
static void check_display_name(const char *text, const sip_name_addr *address, sip_index *index)
{
    size_t end = (size_t)address->display_name.at + address->display_name.size;

    if (!address->display_name.size || address->flags & SIP_ADDRESS_QUOTED)
        return;
    check_octets(text, address->display_name, "-.!%*_+`'~ \t\r\n", SIP_FAULT_DISPLAY_NAME, index);
    if (text[end] == '<')
        note_fault(index, SIP_FAULT_DISPLAY_NAME, end);
}

static void check_address(const char *text, const sip_name_addr *address, const sip_uri *uri, const sip_limits *limits,
                          sip_index *index)
{
    if (!is_lenient(limits, SIP_LENIENT_DISPLAY_NAME))
        check_display_name(text, address, index);
    check_uri(text, uri, limits, index);
    check_parameters(text, address->parameters.at, (size_t)address->parameters.at + address->parameters.size, limits,
                     index);
}

static void check_via(const char *text, const sip_via *via, const sip_limits *limits, sip_index *index)
{
    if (!is_lenient(limits, SIP_LENIENT_HOST))
        check_host(text, via->host, via->is_ipv6, index);
    check_parameters(text, via->parameters.at, (size_t)via->parameters.at + via->parameters.size, limits, index);
}

/* word [ "@" word ] */
static void check_call_id(const char *text, const sip_limits *limits, sip_index *index)
{
    static const char marks[] = "-.!%*_+`'~()<>:\\\"/[]?{}";
    sip_span rest = index->call_id;
    size_t at, end = (size_t)rest.at + rest.size;

    if (is_lenient(limits, SIP_LENIENT_CALL_ID))
        return;
    at = first_foreign(text, rest, marks);
    if (at < end && at > rest.at && text[at] == '@') {
        rest.size = (uint16_t)(end - at - 1);
        rest.at = (uint16_t)(at + 1);
        at = rest.size ? first_foreign(text, rest, marks) : at;
    }
    if (at < end)
        note_fault(index, SIP_FAULT_CALL_ID_WORD, at);
}

#endif
