from libc.stdint cimport uint32_t

from sipcore.scan cimport sip_name_addr, sip_span, sip_via
from sipcore._uri cimport Uri


cdef class Address:
    cdef bytes octets            # where the value stands; may be a whole message
    cdef sip_name_addr parts       # offsets into octets
    cdef Uri _uri                # decoded once


cdef class Via:
    cdef bytes octets
    cdef sip_via parts


cdef class CSeq:
    cdef readonly uint32_t number
    cdef readonly str method


cdef Address address_view(bytes octets, size_t begin, size_t end, uint32_t limit, size_t *stop)
cdef Via via_view(bytes octets, size_t begin, size_t end, uint32_t limit, size_t *stop)
cdef CSeq new_cseq(uint32_t number, str method)
