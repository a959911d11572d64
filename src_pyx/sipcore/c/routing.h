/* routing.h - the start line and the headers that every message is routed and matched by (RFC 3261 sections 7.1, 7.2,
 * 8.1.1).  Part of scan.c: any spelling, and exactly what is wrong; values_fast.h reads the usual spelling faster. */
#ifndef SIPCORE_ROUTING_H
#define SIPCORE_ROUTING_H

#include <string.h>

#include "chars.h"
#include "lines.h"
#include "names_lookup.h"
#include "scan.h"
#include "strict.h"
#include "values.h"

/* ---- start line */

static int is_current_version(const char *p, const char *end)
{
    return (end - p == 7 && !memcmp(p, "SIP/2.0", 7)) || IS_WORD(p, (size_t)(end - p), "sip/2.0");
}

/* SIP/1*DIGIT.1*DIGIT of some other version. */
static int is_version(const char *p, const char *end)
{
    const char *dot;

    if (end - p < 7 || !IS_WORD(p, 4, "sip/"))
        return 0;
    dot = skip_class(p + 4, end, CHAR_DIGIT);
    return dot > p + 4 && end - dot > 1 && *dot == '.' && skip_class(dot + 1, end, CHAR_DIGIT) == end;
}

static void check_request_uri(const char *octets, const sip_limits *limits, sip_index *index)
{
    sip_span span = index->request_uri;
    sip_uri uri;
    size_t at;

    if (sip_parse_uri(octets, span.at, (size_t)span.at + span.size, &uri, &at))
        note_fault(index, SIP_FAULT_REQUEST_URI, at);
    else if (uri.flags & SIP_URI_HAS_HEADERS && !is_lenient(limits, SIP_LENIENT_REQUEST_URI_HEADERS))
        note_fault(index, SIP_FAULT_REQUEST_URI, uri.headers.at);
    else
        check_uri(octets, &uri, limits, index);
}

/* Further spaces from p on, where they are read. */
static const char *skip_spaces(const char *p, const char *end, const sip_limits *limits)
{
    while (is_lenient(limits, SIP_LENIENT_START_LINE_SPACE) && p < end && *p == ' ')
        p++;
    return p;
}

static sip_span request_uri_of(const char *octets, const char *from, const char *to, const sip_limits *limits)
{
    if (is_lenient(limits, SIP_LENIENT_REQUEST_URI_BRACKETS) && to - from > 2 && *from == '<' && to[-1] == '>')
        return span_of(octets, from + 1, to - 1);
    return span_of(octets, from, to);
}

static void scan_request_line(const char *octets, const char *end, const sip_limits *limits, sip_index *index)
{
    const char *p = skip_class(octets, end, CHAR_TOKEN), *from;

    index->method_token = span_of(octets, octets, p);
    index->method = (uint8_t)sip_method_id(octets, (size_t)(p - octets));
    if (p == octets || p == end || *p != ' ') {
        note_fault(index, SIP_FAULT_START_LINE, (size_t)(p - octets));
        return;
    }
    from = skip_spaces(p + 1, end, limits);
    p = memchr(from, ' ', (size_t)(end - from));
    if (!p || p == from) {
        note_fault(index, SIP_FAULT_START_LINE, (size_t)(from - octets));
        return;
    }
    index->request_uri = request_uri_of(octets, from, p, limits);
    p = skip_spaces(p + 1, end, limits);
    while (is_lenient(limits, SIP_LENIENT_START_LINE_SPACE) && end > p && end[-1] == ' ')
        end--;
    if (is_current_version(p, end))
        check_request_uri(octets, limits, index);
    else
        note_fault(index, is_version(p, end) ? SIP_FAULT_VERSION : SIP_FAULT_START_LINE, (size_t)(p - octets));
}

static void scan_status_line(const char *octets, const char *end, const sip_limits *limits, sip_index *index)
{
    const char *p = memchr(octets, ' ', (size_t)(end - octets)), *from;
    int64_t code;

    if (!p) {
        note_fault(index, SIP_FAULT_START_LINE, 0);
        return;
    }
    index->method_token = span_of(octets, octets, p);
    if (!is_current_version(octets, p))
        note_fault(index, SIP_FAULT_VERSION, 0);
    from = p + 1;
    p = skip_class(from, end, CHAR_DIGIT);
    code = p - from == 3 ? sip_parse_number(from, 3, 699) : -1;
    /* A status code of 1 marks a response whose own code is of no use. */
    index->status_code = code >= 100 ? (uint16_t)code : 1;
    if (code < 100 || (p < end && *p != ' '))
        note_fault(index, SIP_FAULT_STATUS_CODE, (size_t)(from - octets));
    if (p < end)
        index->request_uri = span_of(octets, p + 1, end);
    else if (!is_lenient(limits, SIP_LENIENT_STATUS_LINE))
        note_fault(index, SIP_FAULT_STATUS_LINE_SPACE, (size_t)(p - octets));
}

static int is_status_line(const char *p, const char *end)
{
    return end - p >= 4 && IS_WORD(p, 4, "sip/");
}

static void scan_start_line(const char *octets, const char *end, const sip_limits *limits, sip_index *index)
{
    if (is_status_line(octets, end))
        scan_status_line(octets, end, limits, index);
    else
        scan_request_line(octets, end, limits, index);
}

/* ---- headers that every message is routed and matched by */

static inline const sip_line *first_line(const sip_index *index, const sip_line *lines, int id)
{
    return index->first[id] ? lines + index->first[id] - 1 : NULL;
}

static void scan_via(const char *octets, const sip_line *line, const sip_limits *limits, sip_index *index)
{
    size_t at, end = (size_t)line->value_at + line->value_size;
    sip_via via;
    int bad = sip_parse_via(octets, line->value_at, end, limits->parameter_count, &via, &at);

    index->top_via = via.value;
    index->sent_by = via.sent_by;
    index->branch = via.branch;
    index->top_via_transport = via.transport_id;
    if (via.rport == 0) {
        index->flags |= SIP_HAS_RPORT;
        index->rport_at = via.rport_at;
    }
    if (bad)
        note_fault(index, bad == SIP_CROWDED ? SIP_FAULT_PARAMETER_COUNT : SIP_FAULT_VIA, at);
    else
        check_via(octets, &via, limits, index);
}

static void scan_address(const char *octets, const sip_line *line, const sip_limits *limits, int fault,
                         sip_span *tag, sip_index *index)
{
    size_t at, end = (size_t)line->value_at + line->value_size;
    sip_name_addr address;
    sip_uri uri;
    int bad = sip_parse_address(octets, line->value_at, end, limits->parameter_count, &address, &uri, &at);

    if (bad)
        note_fault(index, bad == SIP_CROWDED ? SIP_FAULT_PARAMETER_COUNT : fault, at);
    else if (address.end != end)
        note_fault(index, fault, address.end);
    else
        check_address(octets, &address, &uri, limits, index);
    *tag = address.tag;
}

static void scan_call_id(const char *octets, const sip_line *line, const sip_limits *limits, sip_index *index)
{
    const char *from = octets + line->value_at, *end = from + line->value_size;
    const char *p = skip_visible(from, end);

    index->call_id = span_of(octets, from, p);
    if (p == from || p != end)
        note_fault(index, SIP_FAULT_CALL_ID, (size_t)(p - octets));
    else
        check_call_id(octets, limits, index);
}

static int is_other_method(const char *octets, const sip_index *index)
{
    return index->method_token.size != index->cseq_method_token.size ||
           memcmp(octets + index->method_token.at, octets + index->cseq_method_token.at, index->method_token.size);
}

static void scan_cseq(const char *octets, const sip_line *line, sip_index *index)
{
    size_t at, end = (size_t)line->value_at + line->value_size;

    if (sip_parse_cseq(octets, line->value_at, end, &index->cseq_number, &index->cseq_method_token, &at)) {
        note_fault(index, SIP_FAULT_CSEQ, at);
        return;
    }
    if (!index->status_code && !is_other_method(octets, index)) {
        index->cseq_method = index->method;
        return;
    }
    index->cseq_method = (uint8_t)sip_method_id(octets + index->cseq_method_token.at, index->cseq_method_token.size);
    if (index->status_code)
        index->method = index->cseq_method;
    else
        note_fault(index, index->method ? SIP_FAULT_CSEQ_METHOD : SIP_FAULT_CSEQ_METHOD_UNKNOWN,
                   index->cseq_method_token.at);
}

/* Contact is read when asked for, but one fault makes the message itself
 * ambiguous: an addr-spec with a '?' outside of brackets (RFC 4475 section 3.1.2.13). */
static void scan_contact(const char *octets, const sip_line *line, sip_index *index)
{
    const char *p = octets + line->value_at, *end = p + line->value_size;

    if (p == end || *p == '<' || *p == '"')
        return;
    while (p < end && *p != '<' && *p != ';' && *p != ',' && *p != '"' && *p != '?')
        p++;
    if (p < end && *p == '?')
        note_fault(index, SIP_FAULT_CONTACT, (size_t)(p - octets));
}

static void scan_values(const char *octets, const sip_line *lines, const sip_limits *limits, sip_index *index)
{
    const sip_line *line;

    if ((line = first_line(index, lines, SIP_VIA)))
        scan_via(octets, line, limits, index);
    if ((line = first_line(index, lines, SIP_FROM)))
        scan_address(octets, line, limits, SIP_FAULT_FROM, &index->from_tag, index);
    if ((line = first_line(index, lines, SIP_TO)))
        scan_address(octets, line, limits, SIP_FAULT_TO, &index->to_tag, index);
    if ((line = first_line(index, lines, SIP_CALL_ID)))
        scan_call_id(octets, line, limits, index);
    if ((line = first_line(index, lines, SIP_CSEQ)))
        scan_cseq(octets, line, index);
    if ((line = first_line(index, lines, SIP_CONTACT)))
        scan_contact(octets, line, index);
}

#endif
