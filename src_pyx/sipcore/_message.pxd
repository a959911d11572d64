"""A message: octets, the index over them, and what was decoded so far."""

from libc.stdint cimport int64_t

from sipcore.scan cimport SIP_LINES_INLINE, sip_index, sip_limits, sip_line, sip_source, sip_span
from sipcore._fields cimport CSeq
from sipcore._uri cimport Uri


cdef class Responder:
    # Send a response to `request`: what Request.reply calls.  `reason_phrase`: str or None; `headers`: pairs of str.
    cdef int respond(self, Request request, int status_code, object reason_phrase, object headers, bytes body) except -1


cdef class Message:
    cdef bytes octets            # the whole message, nothing behind it
    cdef sip_index index
    cdef sip_line inline_lines[SIP_LINES_INLINE]
    cdef sip_line *lines         # inline_lines, or an allocation of its own for a message of more lines

    # where it came in; set by the engine
    cdef public int64_t flow
    cdef readonly int64_t transaction
    cdef readonly Responder responder

    # decoded once, None until then
    cdef Uri _request_uri
    cdef object _top_via
    cdef object _from
    cdef object _to
    cdef str _call_id
    cdef CSeq _cseq
    cdef tuple _contacts
    cdef dict _values            # header number or name -> value

    cdef Py_ssize_t next_line(self, int id, const char *name, size_t size, size_t start) noexcept
    cdef str value_text(self, const sip_line *line)
    cdef object address(self, int id)
    cdef tuple addresses(self, int id)
    cdef object number(self, int id, int64_t maximum)


cdef class Request(Message):
    pass


cdef class Response(Message):
    pass


# A message from a finished scan: copies octets[:index.size] once, and the index.  With lines that outlive the call.
cdef Message message_from_scan(const char *octets, const sip_index *index, const sip_line *lines)

# The same without the copy, `octets` being exactly the message.  ParseError for what the scan refuses.
cdef Message message_from_bytes(bytes octets, const sip_limits *limits)

# The exception for a fault of the scan.
cdef object parse_error(int fault, size_t at)

# The response to a request (RFC 3261 section 8.2.6): Via lines, From, To (with `to_tag` unless it has a tag or the
# status is 100), Call-ID and CSeq as they came, Record-Route where the response makes a dialog (12.1.1), Timestamp for
# a 100, then `headers` (pairs of str) and Content-Length.  `reason_phrase`, `to_tag`: str or None.  With a `source`,
# the top Via gets received and rport (18.2.1, RFC 3581).
cdef bytes format_response(Request request, int status_code, object reason_phrase, object headers, bytes body,
                           object to_tag, const sip_source *source=*)
