/* scan.h - octets to offsets (RFC 3261 section 7).
 *
 * Knows the shape of a SIP message: start line, header lines, the end of the
 * headers, and the values every element needs to route and match (top Via, From
 * and To tags, Call-ID, CSeq, Content-Length).  Does not know Python, memory
 * allocation or what any of it means.  Offsets are 16-bit: the start line and
 * headers together are at most SIP_HEAD_MAX octets; a body may be larger.
 *
 * scan.c is the only compile unit; the other headers of this folder are parts
 * of it, so that checks are inlined into the scan.
 */
#ifndef SIPCORE_SCAN_H
#define SIPCORE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "names.h"

/* Every module that uses the scan has a copy of its own. */
#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

#define SIP_HEAD_MAX 65535u      /* octets of start line and headers */
#define SIP_LINES_INLINE 40      /* header lines kept without an allocation of their own */
#define SIP_FIRST_COUNT 16       /* header numbers below this have their first line remembered */
#define SIP_FOLDED 0x80u         /* bit of sip_line.id */
#define SIP_ID_MASK 0x7fu

typedef struct { uint16_t at, size; } sip_span;          /* size 0: absent */

/* One header line, 8 octets.  `value` is trimmed of white space at both ends
 * but not unfolded; bit 7 of `id` says that it is folded. */
typedef struct {
    uint16_t name_at;
    uint16_t value_at;
    uint16_t value_size;
    uint8_t name_size;
    uint8_t id;                  /* enum sip_header, SIP_OTHER for an unknown name */
} sip_line;

/* Why a message is refused.  The first fault found is the one reported; the
 * scan goes on, so that a refused request can still be answered. */
enum sip_fault {
    SIP_FAULT_NONE,
    SIP_FAULT_EMPTY,
    SIP_FAULT_START_LINE,
    SIP_FAULT_VERSION,
    SIP_FAULT_METHOD,
    SIP_FAULT_REQUEST_URI,
    SIP_FAULT_STATUS_CODE,
    SIP_FAULT_LINE_END,
    SIP_FAULT_HEADER_NAME,
    SIP_FAULT_HEAD_UNFINISHED,
    SIP_FAULT_VIA,
    SIP_FAULT_FROM,
    SIP_FAULT_TO,
    SIP_FAULT_CALL_ID,
    SIP_FAULT_CSEQ,
    SIP_FAULT_CSEQ_METHOD,
    SIP_FAULT_CSEQ_METHOD_UNKNOWN,
    SIP_FAULT_CONTACT,
    SIP_FAULT_CONTENT_LENGTH,
    SIP_FAULT_CONTENT_LENGTH_MISSING,
    SIP_FAULT_REPEATED,
    SIP_FAULT_BODY_SHORT,
    SIP_FAULT_MESSAGE_SIZE,
    SIP_FAULT_HEAD_SIZE,
    SIP_FAULT_LINE_COUNT,
    SIP_FAULT_LINE_SIZE,
    SIP_FAULT_NAME_SIZE,
    SIP_FAULT_PARAMETER_COUNT,
    SIP_FAULT_DISPLAY_NAME,      /* these six without the flag of enum sip_lenience */
    SIP_FAULT_HOST,
    SIP_FAULT_URI,
    SIP_FAULT_PARAMETER_VALUE,
    SIP_FAULT_CALL_ID_WORD,
    SIP_FAULT_STATUS_LINE_SPACE,
    SIP_FAULT_COUNT
};

enum sip_limit_flags {
    SIP_STREAM = 1               /* Content-Length is needed and ends the message; a short body is only incomplete */
};

/* What is read although the grammar of RFC 3261 does not have it, in the values that the scan checks.  The words stand
 * in sipcore/limits.py. */
enum sip_lenience {
    SIP_LENIENT_DISPLAY_NAME = 1,
    SIP_LENIENT_HOST = 2,
    SIP_LENIENT_URI = 4,
    SIP_LENIENT_PARAMETER_VALUE = 8,
    SIP_LENIENT_CALL_ID = 16,
    SIP_LENIENT_STATUS_LINE = 32,
    SIP_LENIENT_USUAL = 63,      /* all of the above: what is read unless told otherwise, and what fast.h reads */
    SIP_LENIENT_START_LINE_SPACE = 64,
    SIP_LENIENT_REQUEST_URI_BRACKETS = 128,
    SIP_LENIENT_REQUEST_URI_HEADERS = 256,
    SIP_LENIENT_EQUAL_LENGTHS = 512
};

/* What is accepted at most; beyond it a message is refused with 513. */
typedef struct {
    uint32_t message_size;
    uint32_t head_size;          /* at most SIP_HEAD_MAX */
    uint32_t line_count;
    uint32_t line_size;          /* of one header, folds included */
    uint32_t name_size;          /* at most 255 */
    uint32_t parameter_count;    /* of one value that the scan reads */
    uint32_t flags;              /* enum sip_limit_flags */
    uint32_t lenience;           /* enum sip_lenience */
} sip_limits;

extern const sip_limits sip_default_limits;

enum sip_index_flags {
    SIP_HAS_CONTENT_LENGTH = 1,
    SIP_HAS_RPORT = 2            /* the top Via asks for rport (RFC 3581): the parameter without a value */
};

typedef struct {
    uint32_t size;               /* octets of the whole message, body included; of a stream: of what it will be */
    uint32_t body_at;            /* first octet after the empty line; 0 while the head has no end */
    uint32_t body_size;          /* by Content-Length, or what is left of a datagram */
    uint32_t cseq_number;
    uint32_t fault_at;
    uint16_t line_count;
    uint16_t status_code;        /* 0: a request */
    uint8_t method;              /* enum sip_method; of the CSeq for a response */
    uint8_t cseq_method;         /* enum sip_method */
    uint8_t top_via_transport;   /* enum sip_transport */
    uint8_t flags;               /* enum sip_index_flags */
    uint8_t fault;               /* enum sip_fault, the first one */
    uint8_t is_head_whole;       /* the empty line was seen */
    uint16_t rport_at;           /* with SIP_HAS_RPORT: just after the parameter's name */
    sip_span method_token;       /* requests; the version of a response */
    sip_span request_uri;        /* requests; the reason phrase of a response */
    sip_span top_via;            /* first value of the first Via line */
    sip_span sent_by;            /* of the top Via, host[:port] as written */
    sip_span branch;             /* of the top Via */
    sip_span from_tag;
    sip_span to_tag;
    sip_span call_id;
    sip_span cseq_method_token;
    uint16_t first[SIP_FIRST_COUNT]; /* line number + 1 of the first line of a header; 0: absent */
    uint64_t present[2];         /* bit n: header number n is there; bit 0: an unknown one is */
} sip_index;

enum sip_scan_result {
    SIP_OK = 0,
    SIP_INCOMPLETE = 1,          /* streams: more octets are needed; index.size says how many when it is known, else 0 */
    SIP_MORE_LINES = 2           /* `lines` was too small; index.line_count is what it must hold at most */
};

/* Index one message.  SIP_OK, SIP_INCOMPLETE, SIP_MORE_LINES, or the negative
 * of an enum sip_fault, with everything recognisable in `index` and the place
 * in index->fault_at.  Reads nothing beyond octets + size.  A datagram's octets
 * after the body that Content-Length announces are not part of the message. */
int sip_scan(const char *octets, size_t size, const sip_limits *limits,
             sip_line *lines, size_t lines_room, sip_index *index);

/* What a server that is overloaded needs of a plain request for new work that came in a datagram: method, top Via,
 * sent-by, branch, Call-ID and the lines that a response copies are filled in, nothing else is.  0 when the request
 * may belong to a dialog or a transaction of another kind, or has anything unusual about it: then only the scan tells.
 * What the outline tells of a message, the scan tells too. */
int sip_outline(const char *octets, size_t size, sip_line *lines, size_t room, sip_index *index);

/* The instruction sets that this machine can index lines with, best first; NULL after the last.  The best is used
 * unless another is chosen (0; -1 if it cannot run here), which tests do. */
const char *sip_instruction_set(size_t number);
int sip_use_instruction_set(const char *name);

/* The words and the status code for a fault. */
const char *sip_fault_reason(int fault);
int sip_fault_status(int fault);

/* Number of a header name in any case or compact form, SIP_OTHER if unknown. */
int sip_header_id(const char *name, size_t size);
const sip_name *sip_header_name(int id);
char sip_header_compact_form(int id);        /* 0 for none */
int sip_header_has_list(int id);             /* commas separate values */
int sip_method_id(const char *name, size_t size);
const sip_name *sip_method_name(int id);
int sip_transport_id(const char *name, size_t size);
const sip_phrase *sip_reason_phrase(int status_code);   /* size 0 if there is none */

/* Whether there is no CR, LF or NUL: what would end a line, or a text, early. */
int sip_is_safe(const char *text, size_t size);

/* Copy text to `out`, which has room for it, and say whether it is safe. */
int sip_copy_safe(char *out, const char *text, size_t size);

/* Whether all of it is a token (RFC 3261 section 25.1), and not empty. */
int sip_is_token(const char *text, size_t size);

/* ---- values.  Each reads text[from..to), `to` at most SIP_HEAD_MAX; offsets are from
 * `text` on.  0 if well formed, else one of these and *at says where. */

enum sip_value_fault {
    SIP_MALFORMED = -1,
    SIP_CROWDED = -2             /* more parameters than the limit */
};

typedef struct {
    sip_span scheme;
    sip_span user;               /* sip and sips; size 0 with SIP_URI_HAS_USER: empty */
    sip_span password;
    sip_span host;               /* without the brackets of an IPv6 reference */
    sip_span parameters;         /* from the first ';' on */
    sip_span headers;            /* after the '?' */
    sip_span opaque;             /* everything after the scheme's colon */
    int32_t port;                /* -1: none */
    uint16_t flags;
} sip_uri;

enum sip_uri_flags {
    SIP_URI_IS_SIP = 1,          /* sip or sips */
    SIP_URI_IS_SIPS = 2,
    SIP_URI_HAS_USER = 4,
    SIP_URI_HAS_PASSWORD = 8,
    SIP_URI_IS_IPV6 = 16,
    SIP_URI_HAS_HEADERS = 32,
    SIP_URI_IS_TEL = 64
};

typedef struct {
    sip_span display_name;       /* as written, quotes included */
    sip_span uri;                /* without angle brackets */
    sip_span parameters;         /* from the first ';' on */
    sip_span tag;
    sip_span value;              /* all of it, trimmed */
    uint16_t end;                /* where the value ends: at a comma or at the end of the text */
    uint16_t flags;
} sip_name_addr;

enum sip_name_addr_flags { SIP_ADDRESS_BRACKETS = 1, SIP_ADDRESS_QUOTED = 2 };

typedef struct {
    sip_span version;            /* "2.0" */
    sip_span transport;
    sip_span sent_by;            /* host[:port] as written */
    sip_span host;               /* without brackets */
    sip_span parameters;         /* from the first ';' on */
    sip_span branch;
    sip_span received;
    sip_span value;              /* all of it, trimmed */
    int32_t port;                /* -1: none */
    int32_t rport;               /* -1: none, 0: asked for */
    uint16_t rport_at;           /* just after the name of the parameter */
    uint16_t end;                /* where the value ends: at a comma or at the end of the text */
    uint8_t transport_id;
    uint8_t is_ipv6;
} sip_via;

typedef struct {
    sip_span name;
    sip_span value;              /* quotes included; size 0 without SIP_PARAMETER_HAS_VALUE: there is none */
    int has_value;
} sip_parameter;

int sip_parse_uri(const char *text, size_t from, size_t to, sip_uri *uri, size_t *at);
int sip_parse_address(const char *text, size_t from, size_t to, uint32_t parameter_limit,
                      sip_name_addr *address, sip_uri *uri, size_t *at);
int sip_parse_via(const char *text, size_t from, size_t to, uint32_t parameter_limit, sip_via *via, size_t *at);
int sip_parse_cseq(const char *text, size_t from, size_t to, uint32_t *number, sip_span *method, size_t *at);

/* The next `;name=value` of a header from *at on: 1 found, 0 none (at the end or a comma), -1 malformed. */
int sip_next_parameter(const char *text, size_t to, size_t *at, sip_parameter *parameter);

/* Where the value of a comma list that starts at `from` ends (a comma, or `to`); quotes and <> are minded. */
size_t sip_list_value_end(const char *text, size_t from, size_t to);

/* An unsigned number of digits only, at most `maximum`; -1 if it is not one. */
int64_t sip_parse_number(const char *text, size_t size, int64_t maximum);

/* ---- answers without Python */

/* Where a request came from, for received and rport (RFC 3261 section 18.2.1, RFC 3581). */
typedef struct {
    const char *host;            /* as text, without brackets */
    size_t host_size;
    uint16_t port;
    uint16_t restraint_size;     /* 0, or `restraint` takes the place of the parameters of RFC 7339 in its Via */
    const char *restraint;
} sip_source;

typedef struct {
    int status_code;
    const char *reason_phrase;   /* NULL: the usual one */
    size_t reason_phrase_size;
    const char *to_tag;          /* put on To unless it has one or the status is 100; NULL: none */
    size_t to_tag_size;
    const char *header_lines;    /* whole lines with CRLF, or NULL */
    size_t header_lines_size;
    const char *body;            /* or NULL */
    size_t body_size;
    const sip_source *source;    /* or NULL: the top Via is copied as it came */
    int keeps_record_route;
} sip_answer;

/* Whether a Via offers overload control by loss (RFC 7339): "oc" without a value, and "loss" in oc-algo. */
int sip_offers_restraint(const char *octets, sip_span via);

/* Octets that sip_write_response may need. */
size_t sip_response_room(const sip_index *index, const sip_answer *answer);

/* Write the response to the request in `octets` (RFC 3261 section 8.2.6): Via
 * lines, From, To, Call-ID and CSeq as they came, Timestamp for a 100,
 * Record-Route if asked.  Octets written; 0 when there is no room, or no Via. */
size_t sip_write_response(const char *octets, const sip_index *index, const sip_line *lines,
                          const sip_answer *answer, char *out, size_t room);

/* What a proxy takes out of a response (RFC 3261 section 16.7): the line of the top Via, or the first value of its list.
 * Whether there is one. */
int sip_top_via_span(const char *octets, const sip_index *index, const sip_line *lines, size_t *begin, size_t *end);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
