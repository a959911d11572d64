"""Octets out: requests, responses and edited messages."""

from sipcore.scan cimport sip_index, sip_line, sip_source


# A growing piece of octets: on the stack while it is small.
cdef struct Writer:
    char *octets
    size_t size
    size_t room
    char own[4096]


# `headers`: pairs of str; Content-Length is added.
cdef bytes format_request(object method, object request_uri, object headers, bytes body)

# What `format_response` of `_message` does, for the request in `octets`.
cdef bytes write_response(const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                          object reason_phrase, object headers, bytes body, object to_tag, const sip_source *source)


cdef class Draft:
    cdef object owner            # keeps index and old_lines alive
    cdef bytes octets            # of the message as it came
    cdef const sip_index *index
    cdef const sip_line *old_lines
    cdef bytes start_line        # None: as it came
    cdef bytes new_body          # None: as it came
    cdef list lines              # int: a line of the message; Line: a new one

    cdef int begin(self, object owner, bytes octets, const sip_index *index, const sip_line *old_lines) except -1
    cdef list find(self, str name)
    cdef bint is_named(self, object entry, int id, str lower_name)
    cdef int drop(self, list places) except -1
    cdef object rest_of_list(self, object entry, bint is_list)
    cdef str value_of(self, object entry)
    cdef bytes first_line(self)
    cdef bytes copied(self, size_t first, size_t last)
