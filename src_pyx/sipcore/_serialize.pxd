"""Octets out: requests, responses and edited messages."""

from sipcore.scan cimport sip_source
from sipcore._message cimport Message, Request


# A growing piece of octets: on the stack while it is small.
cdef struct Writer:
    char *octets
    size_t size
    size_t room
    char own[4096]


# The response to a request (RFC 3261 section 8.2.6): Via lines, From, To (with `to_tag` unless it has a tag or the
# status is 100), Call-ID and CSeq as they came, Record-Route where the response makes a dialog (12.1.1), Timestamp for
# a 100, then `headers` (pairs of str) and Content-Length.  `reason_phrase`, `to_tag`: str or None.  With a `source`,
# the top Via gets received and rport (18.2.1, RFC 3581).
cdef bytes format_response(Request request, int status_code, object reason_phrase, object headers, bytes body,
                           object to_tag, const sip_source *source=*)

cdef bytes format_request(object method, object request_uri, object headers, bytes body)
