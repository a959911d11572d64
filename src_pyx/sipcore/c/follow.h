/* follow.h - the requests that follow an INVITE on its own branch: the ACK to a final
 * response other than 2xx (RFC 3261 section 17.1.1.3) and CANCEL (section 9.1).
 *
 * Copies pieces of an indexed INVITE.  Knows no Python and no transactions. */
#ifndef SIPCORE_FOLLOW_H
#define SIPCORE_FOLLOW_H

#include <stdio.h>
#include <string.h>

#include "scan.h"

typedef struct {
    const char *method;          /* "ACK" or "CANCEL" */
    const char *to;              /* whole value of To */
    size_t to_size;
    const char *header_lines;    /* whole lines with CRLF, or NULL */
    size_t header_lines_size;
} sip_follow_up;

/* Octets that sip_write_follow_up may need. */
static inline size_t sip_follow_up_room(const sip_index *invite, const sip_follow_up *follow_up)
{
    return invite->body_at + follow_up->to_size + follow_up->header_lines_size + 4 * (size_t)invite->line_count + 128;
}

static inline char *follow_put(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

static inline char *follow_put_line(char *out, const char *name, const char *value, size_t size)
{
    out = follow_put(out, name, strlen(name));
    out = follow_put(out, value, size);
    return follow_put(out, "\r\n", 2);
}

/* Octets written to `out`, which has sip_follow_up_room.  The INVITE was scanned without a fault. */
static inline size_t sip_write_follow_up(const char *octets, const sip_index *invite, const sip_line *lines,
                                         const sip_follow_up *follow_up, char *out)
{
    char *start = out;
    const sip_line *from = lines + invite->first[SIP_FROM] - 1;
    int i;

    out = follow_put(out, follow_up->method, strlen(follow_up->method));
    *out++ = ' ';
    out = follow_put(out, octets + invite->request_uri.at, invite->request_uri.size);
    out = follow_put(out, " SIP/2.0\r\n", 10);
    out = follow_put_line(out, "Via: ", octets + invite->top_via.at, invite->top_via.size);
    for (i = 0; i < invite->line_count; i++)
        if ((lines[i].id & SIP_ID_MASK) == SIP_ROUTE)
            out = follow_put_line(out, "Route: ", octets + lines[i].value_at, lines[i].value_size);
    out = follow_put(out, "Max-Forwards: 70\r\n", 18);
    out = follow_put_line(out, "From: ", octets + from->value_at, from->value_size);
    out = follow_put_line(out, "To: ", follow_up->to, follow_up->to_size);
    out = follow_put_line(out, "Call-ID: ", octets + invite->call_id.at, invite->call_id.size);
    out += sprintf(out, "CSeq: %u %s\r\n", (unsigned)invite->cseq_number, follow_up->method);
    if (follow_up->header_lines_size)
        out = follow_put(out, follow_up->header_lines, follow_up->header_lines_size);
    out = follow_put(out, "Content-Length: 0\r\n\r\n", 21);
    return (size_t)(out - start);
}

#endif
