/* scan.h - octets to offsets (RFC 3261 section 7).
 *
 * Knows the shape of a SIP message: start line, header lines, the end of the
 * headers, and the values every element needs to route and match (top Via, From
 * and To tags, Call-ID, CSeq, Content-Length).  Does not know Python, memory
 * allocation or what any of it means.  Offsets are 16-bit: the start line and
 * headers together are at most SIP_HEAD_MAX octets; a body may be larger.
 */
#ifndef SIPCORE_SCAN_H
#define SIPCORE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define SIP_HEAD_MAX 65535u      /* octets of start line and headers */
#define SIP_LINES_INLINE 40      /* header lines kept without an allocation of their own */

typedef struct { uint16_t at, size; } sip_span;          /* size 0: absent */

/* One header line, 8 octets.  `value` is trimmed of white space at both ends
 * but not unfolded; bit 7 of `id` says that it is folded. */
typedef struct {
    uint16_t name_at;
    uint16_t value_at;
    uint16_t value_size;
    uint8_t name_size;
    uint8_t id;
} sip_line;

typedef struct {
    uint32_t size;               /* octets of the whole message, body included */
    uint32_t body_at;            /* first octet after the empty line */
    uint32_t body_size;          /* by Content-Length, or what is left of a datagram */
    uint32_t cseq_number;
    uint16_t line_count;
    uint16_t status_code;        /* 0: a request */
    uint8_t method;              /* enum sip_method; of the CSeq for a response */
    uint8_t cseq_method;         /* enum sip_method */
    uint8_t top_via_transport;   /* enum sip_transport */
    uint8_t flags;               /* SIP_HAS_... */
    sip_span method_token;       /* requests; the version of a response */
    sip_span request_uri;        /* requests; the reason phrase of a response */
    sip_span top_via;            /* first value of the first Via line */
    sip_span sent_by;            /* of the top Via, host[:port] as written */
    sip_span branch;             /* of the top Via */
    sip_span from_tag;
    sip_span to_tag;
    sip_span call_id;
    sip_span cseq_method_token;
} sip_index;

#endif
