from sipcore.scan cimport sip_uri, sip_span


cdef class Uri:
    cdef bytes octets            # where the URI stands; may be a whole message
    cdef sip_uri parts           # offsets into octets

    cdef sip_span whole(self) noexcept


cdef Uri known_uri(bytes octets, const sip_uri *parts)
cdef Uri uri_view(bytes octets, size_t begin, size_t end)
cdef str unfold(const char *octets, size_t size)
cdef bytes encoded(str text)
cdef bytes octets_of(object text, str what)
cdef dict parameters_of(bytes octets, sip_span span)
