/* scan.c - the scan of one message; see scan.h. */
#define SIP_NAMES_TABLES

#include "scan.h"

#include "answer.h"
#include "fast.h"
#include "lines.h"
#include "names_lookup.h"
#include "outline.h"
#include "routing.h"
#include "strict.h"
#include "values.h"

const sip_limits sip_default_limits = {
    .message_size = 131072,
    .head_size = SIP_HEAD_MAX,
    .line_count = 2048,
    .line_size = 16384,
    .name_size = 128,
    .parameter_count = 128,
    .flags = 0,
    .lenience = SIP_LENIENT_USUAL
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
    [SIP_FAULT_PARAMETER_COUNT] = {513, "too many parameters"},
    [SIP_FAULT_DISPLAY_NAME] = {400, "display name that needs quotes or white space behind it"},
    [SIP_FAULT_HOST] = {400, "host that is no name and no address"},
    [SIP_FAULT_URI] = {400, "octet that may not stand in a URI"},
    [SIP_FAULT_PARAMETER_VALUE] = {400, "parameter value that needs quotes"},
    [SIP_FAULT_CALL_ID_WORD] = {400, "Call-ID that is no word, nor two with an at sign between"},
    [SIP_FAULT_STATUS_LINE_SPACE] = {400, "no space after the status code"}
};

const char *sip_fault_reason(int fault)
{
    return faults[fault > 0 && fault < SIP_FAULT_COUNT ? fault : 0].reason;
}

int sip_fault_status(int fault)
{
    return faults[fault > 0 && fault < SIP_FAULT_COUNT ? fault : 0].status;
}

/* ---- body */

/* Whether every Content-Length says the same as the first. */
static int has_equal_lengths(const char *octets, const sip_line *lines, const sip_index *index)
{
    size_t i;

    for (i = index->first[SIP_CONTENT_LENGTH]; i < index->line_count; i++)
        if ((lines[i].id & SIP_ID_MASK) == SIP_CONTENT_LENGTH &&
            sip_parse_number(octets + lines[i].value_at, lines[i].value_size, 0x7fffffff) != index->body_size)
            return 0;
    return 1;
}

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
    if (is_lenient(limits, SIP_LENIENT_EQUAL_LENGTHS) && !has_equal_lengths(octets, lines, index))
        note_fault(index, SIP_FAULT_REPEATED, line->value_at);
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

/* The slow way to what fast_lines does: any head, and any fault in it. */
static const char *scan_lines(const char *octets, size_t size, const sip_limits *limits, sip_line *lines, size_t room,
                              sip_index *index)
{
    const char *end = octets + size, *start_end = find_line_end(octets, end), *resume, *next;

    index->line_count = 0;
    memset(index->first, 0, sizeof index->first);
    memset(index->present, 0, sizeof index->present);
    if (start_end == end || (*start_end == '\r' && start_end + 1 == end))
        return NULL;
    next = skip_line_end(start_end, end, &resume);
    if (!next || start_end == octets) {
        note_fault(index, SIP_FAULT_START_LINE, (size_t)(start_end - octets));
        return NULL;
    }
    scan_start_line(octets, start_end, limits, index);
    return index_lines(octets, next, end, limits, lines, room, index);
}

static int scan_head(const char *octets, size_t size, const sip_limits *limits,
                     sip_line *lines, size_t room, sip_index *index)
{
    size_t head_size = size < limits->head_size ? size : limits->head_size, start_end;
    const instruction_set *fast = best_instruction_set();
    const char *next = NULL;

    if (fast->lines)
        next = fast->lines(octets, head_size, &start_end, limits, lines, room, index);
    if (next == octets)
        return SIP_MORE_LINES;
    if (next && start_end) {
        if ((limits->lenience & SIP_LENIENT_USUAL) == SIP_LENIENT_USUAL) {
            fast->values(octets, head_size, start_end, limits, lines, index);
        } else {
            scan_start_line(octets, octets + start_end, limits, index);
            scan_values(octets, lines, limits, index);
        }
    } else {
        next = scan_lines(octets, head_size, limits, lines, room, index);
        if (index->line_count > room)
            return SIP_MORE_LINES;
        scan_values(octets, lines, limits, index);
    }
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
