"""The lines of a message, and room for all that a message keeps: one allocation, one freelist."""

from libc.stdint cimport int64_t

from sipcore.scan cimport SIP_LINES_INLINE, sip_index, sip_line
from sipcore._fields cimport CSeq
from sipcore._uri cimport Uri


cdef class Head:
    cdef bytes octets            # the whole message, nothing behind it
    cdef sip_index index
    cdef sip_line inline_lines[SIP_LINES_INLINE]
    cdef sip_line *lines         # inline_lines, or in `spilled` for a message of more lines
    cdef bytes spilled

    # where it came in; set by the engine
    cdef public int64_t flow
    cdef readonly int64_t transaction
    cdef readonly object responder       # a Responder of _message, or None

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
