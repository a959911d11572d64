"""Octets out: requests, responses and edited messages."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sipcore.scan cimport SIP_LINES_INLINE, sip_index, sip_line, sip_source


# A growing piece of octets: where it was started while it is small.
cdef struct Writer:
    char *octets
    size_t size
    size_t room
    char *own


# `headers`: pairs of str; Content-Length is added.
cdef bytes format_request(object method, object request_uri, object headers, bytes body)

# What `format_response` of `_message` does, for the request in `octets`.
cdef bytes write_response(const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                          object reason_phrase, object headers, bytes body, object to_tag, const sip_source *source)


cdef enum:
    DRAFT_LINES = 8              # new lines and
    DRAFT_TEXT = 512             # octets of them that a draft keeps without an allocation of their own


# A header line that the application wrote.
cdef struct drafted_line:
    uint32_t at                  # in the text of the draft
    uint32_t size                # its line end included
    uint32_t name_size
    uint8_t id
    uint8_t place


# A header that is looked for.
cdef struct header_name:
    const char *text
    size_t size
    int id


cdef class Draft:
    cdef object owner            # keeps index and old_lines alive
    cdef bytes octets            # of the message as it came
    cdef const sip_index *index
    cdef const sip_line *old_lines
    cdef size_t old_count
    cdef bytes new_body          # None: as it came
    cdef Writer text             # what was written: lines, start line
    cdef size_t start_at
    cdef size_t start_size       # of a new start line in `text`; 0: as it came
    cdef drafted_line *lines     # own_lines, or allocated
    cdef size_t count
    cdef size_t room
    cdef uint16_t *fates         # of each line of the message; own_fates, or allocated
    cdef drafted_line own_lines[DRAFT_LINES]
    cdef uint16_t own_fates[SIP_LINES_INLINE]
    cdef char own_text[DRAFT_TEXT]

    cdef int begin(self, object owner, bytes octets, const sip_index *index, const sip_line *old_lines) except -1
    cdef drafted_line *new_line_of(self, size_t slot) noexcept
    cdef const sip_line *old_line_of(self, size_t slot) noexcept
    cdef Py_ssize_t next_slot(self, size_t start, const header_name *name) noexcept
    cdef int drop(self, size_t slot) except -1
    cdef int put_in_slot(self, size_t slot, drafted_line line) except -1
    cdef int append(self, drafted_line line) except -1
    cdef int write_line(self, str name, object value, int place, drafted_line *line) except -1
    cdef bint shorten(self, size_t slot) except -1
    cdef size_t splice(self, char *out) noexcept
    cdef size_t splice_line(self, char *out, size_t size, size_t number, int place) noexcept
    cdef size_t splice_old_lines(self, char *out, size_t size) noexcept
