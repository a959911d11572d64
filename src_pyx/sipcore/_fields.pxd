from libc.stdint cimport uint16_t, uint32_t

from sipcore.scan cimport sip_name_addr, sip_span, sip_uri, sip_via
from sipcore._uri cimport Uri


# Both are views: begin..end of octets (which may be a whole message) holds the value.  One that a scan has found well
# formed is read when more than its tag, or its branch, is asked for.
cdef class Address:
    cdef bytes octets
    cdef uint16_t begin
    cdef uint16_t end
    cdef bint is_read
    cdef sip_name_addr parts     # offsets into octets
    cdef sip_uri uri_parts       # likewise
    cdef Uri _uri                # made once

    cdef int read(self) except -1


cdef class Via:
    cdef bytes octets
    cdef uint16_t begin
    cdef uint16_t end
    cdef bint is_read
    cdef sip_via parts

    cdef int read(self) except -1


cdef class CSeq:
    cdef readonly uint32_t number
    cdef readonly str method


# The first value in octets[begin:end]; *stop is where it ended, at a comma or at `end`.
cdef Address address_view(bytes octets, size_t begin, size_t end, uint32_t limit, size_t *stop)
cdef Via via_view(bytes octets, size_t begin, size_t end, uint32_t limit, size_t *stop)

# A value that a scan has read: all of it is in octets[begin:end].
cdef Address known_address(bytes octets, size_t begin, size_t end, sip_span tag)
cdef Via known_via(bytes octets, sip_span value, sip_span branch)

cdef CSeq new_cseq(uint32_t number, str method)
