"""c/scan.h for Cython.  A module that cimports this names its source: `# distutils: sources = src_pyx/sipcore/c/scan.c`."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "scan.h" nogil:
    enum:
        SIP_HEAD_MAX
        SIP_LINES_INLINE
        SIP_FIRST_COUNT
        SIP_FOLDED
        SIP_ID_MASK

    enum:                        # header numbers, enum sip_header
        SIP_OTHER
        SIP_VIA
        SIP_FROM
        SIP_TO
        SIP_CALL_ID
        SIP_CSEQ
        SIP_MAX_FORWARDS
        SIP_CONTACT
        SIP_CONTENT_LENGTH
        SIP_CONTENT_TYPE
        SIP_ROUTE
        SIP_RECORD_ROUTE
        SIP_EXPIRES
        SIP_COUNT

    enum:                        # enum sip_method
        SIP_METHOD_OTHER
        SIP_METHOD_INVITE
        SIP_METHOD_ACK
        SIP_METHOD_BYE
        SIP_METHOD_CANCEL
        SIP_METHOD_OPTIONS
        SIP_METHOD_REGISTER
        SIP_METHOD_PRACK
        SIP_METHOD_UPDATE
        SIP_METHOD_INFO
        SIP_METHOD_REFER
        SIP_METHOD_SUBSCRIBE
        SIP_METHOD_NOTIFY
        SIP_METHOD_COUNT

    enum:                        # enum sip_transport
        SIP_TRANSPORT_OTHER
        SIP_TRANSPORT_UDP
        SIP_TRANSPORT_TCP
        SIP_TRANSPORT_TLS
        SIP_TRANSPORT_WS
        SIP_TRANSPORT_WSS

    enum:                        # enum sip_scan_result
        SIP_OK
        SIP_INCOMPLETE
        SIP_MORE_LINES

    enum:                        # enum sip_fault
        SIP_FAULT_NONE
        SIP_FAULT_EMPTY
        SIP_FAULT_HEAD_SIZE
        SIP_FAULT_HEAD_UNFINISHED
        SIP_FAULT_MESSAGE_SIZE
        SIP_FAULT_CONTENT_LENGTH
        SIP_FAULT_COUNT

    enum:                        # enum sip_lenience
        SIP_LENIENT_USUAL

    enum:                        # flags
        SIP_STREAM
        SIP_HAS_CONTENT_LENGTH
        SIP_HAS_RPORT
        SIP_URI_IS_SIP
        SIP_URI_IS_SIPS
        SIP_URI_HAS_USER
        SIP_URI_HAS_PASSWORD
        SIP_URI_IS_IPV6
        SIP_URI_HAS_HEADERS
        SIP_URI_IS_TEL
        SIP_ADDRESS_BRACKETS
        SIP_ADDRESS_QUOTED

    ctypedef struct sip_span:
        uint16_t at
        uint16_t size

    ctypedef struct sip_line:
        uint16_t name_at
        uint16_t value_at
        uint16_t value_size
        uint8_t name_size
        uint8_t id

    ctypedef struct sip_limits:
        uint32_t message_size
        uint32_t head_size
        uint32_t line_count
        uint32_t line_size
        uint32_t name_size
        uint32_t parameter_count
        uint32_t flags
        uint32_t lenience

    const sip_limits sip_default_limits

    ctypedef struct sip_index:
        uint32_t size
        uint32_t body_at
        uint32_t body_size
        uint32_t cseq_number
        uint32_t fault_at
        uint16_t line_count
        uint16_t status_code
        uint8_t method
        uint8_t cseq_method
        uint8_t top_via_transport
        uint8_t flags
        uint8_t fault
        uint8_t is_head_whole
        uint16_t rport_at
        sip_span method_token
        sip_span request_uri
        sip_span top_via
        sip_span sent_by
        sip_span branch
        sip_span from_tag
        sip_span to_tag
        sip_span call_id
        sip_span cseq_method_token
        uint16_t first[16]
        uint64_t present[2]

    ctypedef struct sip_name:
        const char *text
        size_t size

    ctypedef struct sip_phrase:
        uint16_t status_code
        uint16_t size
        const char *text

    int sip_scan(const char *octets, size_t size, const sip_limits *limits, sip_line *lines, size_t lines_room,
                 sip_index *index)
    bint sip_outline(const char *octets, size_t size, sip_line *lines, size_t room, sip_index *index)
    const char *sip_instruction_set(size_t number)
    int sip_use_instruction_set(const char *name)
    const char *sip_fault_reason(int fault)
    int sip_fault_status(int fault)

    int sip_header_id(const char *name, size_t size)
    const sip_name *sip_header_name(int id)
    char sip_header_compact_form(int id)
    int sip_header_has_list(int id)
    int sip_method_id(const char *name, size_t size)
    const sip_name *sip_method_name(int id)
    int sip_transport_id(const char *name, size_t size)
    const sip_phrase *sip_reason_phrase(int status_code)
    int sip_is_safe(const char *text, size_t size)
    int sip_copy_safe(char *out, const char *text, size_t size)
    int sip_is_token(const char *text, size_t size)

    ctypedef struct sip_uri:
        sip_span scheme
        sip_span user
        sip_span password
        sip_span host
        sip_span parameters
        sip_span headers
        sip_span opaque
        int32_t port
        uint16_t flags

    ctypedef struct sip_name_addr:
        sip_span display_name
        sip_span uri
        sip_span parameters
        sip_span tag
        sip_span value
        uint16_t end
        uint16_t flags

    ctypedef struct sip_via:
        sip_span version
        sip_span transport
        sip_span sent_by
        sip_span host
        sip_span parameters
        sip_span branch
        sip_span received
        sip_span value
        int32_t port
        int32_t rport
        uint16_t rport_at
        uint16_t end
        uint8_t transport_id
        uint8_t is_ipv6

    ctypedef struct sip_parameter:
        sip_span name
        sip_span value
        int has_value

    int sip_parse_uri(const char *text, size_t begin, size_t end, sip_uri *uri, size_t *at)
    int sip_parse_address(const char *text, size_t begin, size_t end, uint32_t parameter_limit, sip_name_addr *address,
                          sip_uri *uri, size_t *at)
    int sip_parse_via(const char *text, size_t begin, size_t end, uint32_t parameter_limit, sip_via *via, size_t *at)
    int sip_parse_cseq(const char *text, size_t begin, size_t end, uint32_t *number, sip_span *method, size_t *at)
    int sip_next_parameter(const char *text, size_t end, size_t *at, sip_parameter *parameter)
    size_t sip_list_value_end(const char *text, size_t begin, size_t end)
    int64_t sip_parse_number(const char *text, size_t size, int64_t maximum)

    ctypedef struct sip_source:
        const char *host
        size_t host_size
        uint16_t port
        uint16_t restraint_size
        const char *restraint

    ctypedef struct sip_answer:
        int status_code
        const char *reason_phrase
        size_t reason_phrase_size
        const char *to_tag
        size_t to_tag_size
        const char *header_lines
        size_t header_lines_size
        const char *body
        size_t body_size
        const sip_source *source
        int keeps_record_route

    int sip_offers_restraint(const char *octets, sip_span via)
    size_t sip_response_room(const sip_index *index, const sip_answer *answer)
    size_t sip_write_response(const char *octets, const sip_index *index, const sip_line *lines,
                              const sip_answer *answer, char *out, size_t room)
    int sip_top_via_span(const char *octets, const sip_index *index, const sip_line *lines, size_t *begin, size_t *end)
