/* scan.c - the scan of one message; see scan.h. */
#define SIP_NAMES_TABLES

#include "scan.h"

#include "answer.h"
#include "chars.h"
#include "lines.h"
#include "names_lookup.h"
#include "values.h"

const sip_limits sip_default_limits = {
    .message_size = 131072,
    .head_size = SIP_HEAD_MAX,
    .line_count = 2048,
    .line_size = 16384,
    .name_size = 128,
    .parameter_count = 128,
    .flags = 0
};

static const struct { int status; const char *reason; } faults[SIP_FAULT_COUNT] = {
    [SIP_FAULT_NONE] = {200, "no fault"},
    [SIP_FAULT_EMPTY] = {400, "empty message"},
    [SIP_FAULT_START_LINE] = {400, "malformed start line"},
    [SIP_FAULT_VERSION] = {505, "unknown SIP version"},
    [SIP_FAULT_METHOD] = {400, "malformed method"},
    [SIP_FAULT_REQUEST_URI] = {400, "malformed Request-URI"},
    [SIP_FAULT_STATUS_CODE] = {400, "malformed status code"},
    [SIP_FAULT_LINE_END] = {400, "CR or LF alone in the head"},
    [SIP_FAULT_HEADER_NAME] = {400, "malformed header name"},
    [SIP_FAULT_HEAD_UNFINISHED] = {400, "no empty line after the headers"},
    [SIP_FAULT_VIA] = {400, "malformed Via"},
    [SIP_FAULT_FROM] = {400, "malformed From"},
    [SIP_FAULT_TO] = {400, "malformed To"},
    [SIP_FAULT_CALL_ID] = {400, "malformed Call-ID"},
    [SIP_FAULT_CSEQ] = {400, "malformed CSeq"},
    [SIP_FAULT_CSEQ_METHOD] = {400, "CSeq names another method"},
    [SIP_FAULT_CSEQ_METHOD_UNKNOWN] = {501, "CSeq names another method"},
    [SIP_FAULT_CONTACT] = {400, "Contact with a question mark needs angle brackets"},
    [SIP_FAULT_CONTENT_LENGTH] = {400, "malformed Content-Length"},
    [SIP_FAULT_CONTENT_LENGTH_MISSING] = {400, "no Content-Length on a stream"},
    [SIP_FAULT_REPEATED] = {400, "header that may stand only once is repeated"},
    [SIP_FAULT_BODY_SHORT] = {400, "body shorter than Content-Length"},
    [SIP_FAULT_MESSAGE_SIZE] = {513, "message too large"},
    [SIP_FAULT_HEAD_SIZE] = {513, "headers too large"},
    [SIP_FAULT_LINE_COUNT] = {513, "too many headers"},
    [SIP_FAULT_LINE_SIZE] = {513, "header too large"},
    [SIP_FAULT_NAME_SIZE] = {513, "header name too large"},
    [SIP_FAULT_PARAMETER_COUNT] = {513, "too many parameters"}
};

const char *sip_fault_reason(int fault)
{
    return faults[fault > 0 && fault < SIP_FAULT_COUNT ? fault : 0].reason;
}

int sip_fault_status(int fault)
{
    return faults[fault > 0 && fault < SIP_FAULT_COUNT ? fault : 0].status;
}

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

static void check_request_uri(const char *octets, sip_index *index)
{
    sip_span span = index->request_uri;
    sip_uri uri;
    size_t at;

    if (sip_parse_uri(octets, span.at, (size_t)span.at + span.size, &uri, &at))
        note_fault(index, SIP_FAULT_REQUEST_URI, at);
    else if (uri.flags & SIP_URI_HAS_HEADERS)
        note_fault(index, SIP_FAULT_REQUEST_URI, uri.headers.at);
}

static void scan_request_line(const char *octets, const char *end, sip_index *index)
{
    const char *p = skip_class(octets, end, CHAR_TOKEN), *from;

    index->method_token = span_of(octets, octets, p);
    index->method = (uint8_t)sip_method_id(octets, (size_t)(p - octets));
    if (p == octets || p == end || *p != ' ') {
        note_fault(index, SIP_FAULT_START_LINE, (size_t)(p - octets));
        return;
    }
    from = ++p;
    p = memchr(from, ' ', (size_t)(end - from));
    if (!p || p == from) {
        note_fault(index, SIP_FAULT_START_LINE, (size_t)(from - octets));
        return;
    }
    index->request_uri = span_of(octets, from, p);
    if (is_current_version(p + 1, end))
        check_request_uri(octets, index);
    else
        note_fault(index, is_version(p + 1, end) ? SIP_FAULT_VERSION : SIP_FAULT_START_LINE, (size_t)(p + 1 - octets));
}

static void scan_status_line(const char *octets, const char *end, sip_index *index)
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
}

static int is_status_line(const char *p, const char *end)
{
    return end - p >= 4 && IS_WORD(p, 4, "sip/");
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
    *tag = address.tag;
}

static void scan_call_id(const char *octets, const sip_line *line, sip_index *index)
{
    const char *from = octets + line->value_at, *end = from + line->value_size;
    const char *p = skip_visible(from, end);

    index->call_id = span_of(octets, from, p);
    if (p == from || p != end)
        note_fault(index, SIP_FAULT_CALL_ID, (size_t)(p - octets));
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
        scan_call_id(octets, line, index);
    if ((line = first_line(index, lines, SIP_CSEQ)))
        scan_cseq(octets, line, index);
    if ((line = first_line(index, lines, SIP_CONTACT)))
        scan_contact(octets, line, index);
}

/* ---- body */

/* Content-Length into body_size; 0, or -1 when there is none that can be used. */
static int scan_content_length(const char *octets, const sip_line *lines, const sip_limits *limits, sip_index *index)
{
    const sip_line *line = first_line(index, lines, SIP_CONTENT_LENGTH);
    int64_t length;

    if (!line) {
        if (limits->flags & SIP_STREAM)
            note_fault(index, SIP_FAULT_CONTENT_LENGTH_MISSING, index->body_at);
        return -1;
    }
    length = sip_parse_number(octets + line->value_at, line->value_size, 0x7fffffff);
    if (length < 0) {
        note_fault(index, SIP_FAULT_CONTENT_LENGTH, line->value_at);
        return -1;
    }
    index->flags |= SIP_HAS_CONTENT_LENGTH;
    index->body_size = (uint32_t)length;
    return 0;
}

static int scan_body(const char *octets, size_t size, const sip_line *lines, const sip_limits *limits, sip_index *index)
{
    size_t rest = size - index->body_at;
    uint64_t total;

    if (scan_content_length(octets, lines, limits, index)) {
        index->body_size = (uint32_t)rest;
        index->size = (uint32_t)size;
        return SIP_OK;
    }
    total = (uint64_t)index->body_at + index->body_size;
    index->size = (uint32_t)total;
    if (total > limits->message_size && limits->flags & SIP_STREAM)
        note_fault(index, SIP_FAULT_MESSAGE_SIZE, index->body_at);
    else if (index->body_size > rest && limits->flags & SIP_STREAM)
        return SIP_INCOMPLETE;
    else if (index->body_size > rest)
        note_fault(index, SIP_FAULT_BODY_SHORT, size);
    return SIP_OK;
}

/* ---- the whole */

/* The end of the head was not found among `size` octets. */
static int scan_unfinished(size_t size, const sip_limits *limits, sip_index *index)
{
    index->size = 0;
    if (index->fault == SIP_FAULT_LINE_COUNT)
        return SIP_OK;
    if (size > limits->head_size)
        note_fault(index, SIP_FAULT_HEAD_SIZE, limits->head_size);
    else if (limits->flags & SIP_STREAM && !index->fault)
        return SIP_INCOMPLETE;
    else
        note_fault(index, SIP_FAULT_HEAD_UNFINISHED, size);
    return SIP_OK;
}

static void scan_start_line(const char *octets, const char *end, sip_index *index)
{
    if (is_status_line(octets, end))
        scan_status_line(octets, end, index);
    else
        scan_request_line(octets, end, index);
}

/* The slow way to what fast_lines does: any head, and any fault in it. */
static const char *scan_lines(const char *octets, size_t size, const sip_limits *limits, const char **start_end,
                              sip_line *lines, size_t room, sip_index *index)
{
    const char *end = octets + size, *resume, *next;

    index->line_count = 0;
    memset(index->first, 0, sizeof index->first);
    memset(index->present, 0, sizeof index->present);
    *start_end = find_line_end(octets, end);
    if (*start_end == end || (**start_end == '\r' && *start_end + 1 == end)) {
        *start_end = NULL;
        return NULL;
    }
    next = skip_line_end(*start_end, end, &resume);
    if (!next || *start_end == octets) {
        note_fault(index, SIP_FAULT_START_LINE, (size_t)(*start_end - octets));
        *start_end = NULL;
        return NULL;
    }
    scan_start_line(octets, *start_end, index);
    return index_lines(octets, next, end, limits, lines, room, index);
}

static int scan_head(const char *octets, size_t size, const sip_limits *limits,
                     sip_line *lines, size_t room, sip_index *index)
{
    size_t head_size = size < limits->head_size ? size : limits->head_size, start_size;
    fast_lines_function fast = fast_lines();
    const char *start_end, *next = NULL;

    if (fast)
        next = fast(octets, head_size, &start_size, limits, lines, room, index);
    if (next == octets)
        return SIP_MORE_LINES;
    if (next && start_size)
        scan_start_line(octets, octets + start_size, index);
    else
        next = scan_lines(octets, head_size, limits, &start_end, lines, room, index);
    if (index->line_count > room)
        return SIP_MORE_LINES;
    scan_values(octets, lines, limits, index);
    if (!next)
        return index->fault == SIP_FAULT_START_LINE ? SIP_OK : scan_unfinished(size, limits, index);
    index->is_head_whole = 1;
    index->body_at = (uint32_t)(next - octets);
    return scan_body(octets, size, lines, limits, index);
}

int sip_scan(const char *octets, size_t size, const sip_limits *limits,
             sip_line *lines, size_t lines_room, sip_index *index)
{
    int result;

    memset(index, 0, sizeof *index);
    if (!size && limits->flags & SIP_STREAM)
        return SIP_INCOMPLETE;
    if (!size) {
        note_fault(index, SIP_FAULT_EMPTY, 0);
        return -SIP_FAULT_EMPTY;
    }
    if (size > limits->message_size && !(limits->flags & SIP_STREAM)) {
        note_fault(index, SIP_FAULT_MESSAGE_SIZE, limits->message_size);
        size = limits->message_size;
    }
    result = scan_head(octets, size, limits, lines, lines_room, index);
    if (index->fault)
        return result == SIP_MORE_LINES ? result : -(int)index->fault;
    return result;
}
