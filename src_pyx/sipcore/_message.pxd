"""A message: octets, the index over them, and what was decoded so far."""

from libc.stdint cimport int64_t

from sipcore.scan cimport sip_index, sip_limits, sip_line, sip_source, sip_span
from sipcore._head cimport Head


cdef class Responder:
    # Send a response to `request`: what Request.reply calls.  `reason_phrase`: str or None; `headers`: pairs of str.
    cdef int respond(self, Request request, int status_code, object reason_phrase, object headers, bytes body) except -1


cdef class Message(Head):
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
