"""Octets to str and back, and the faults at the door; inlined into every room that needs them.

Header values are UTF-8 with surrogateescape, so that octets survive.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr
from sipcore.scan cimport sip_span


cdef extern from "Python.h":
    str PyUnicode_DecodeUTF8(const char *text, Py_ssize_t size, const char *errors)
    str PyUnicode_FromStringAndSize(const char *text, Py_ssize_t size)


cdef inline str text_of(const char *octets, size_t size):
    return PyUnicode_DecodeUTF8(octets, <Py_ssize_t>size, "surrogateescape")


cdef inline str span_text(bytes octets, sip_span span):
    """The text of a span; "" for an absent one."""
    return text_of(PyBytes_AS_STRING(octets) + span.at, span.size)


cdef inline str span_text_or_none(bytes octets, sip_span span):
    if span.size == 0:
        return None
    return text_of(PyBytes_AS_STRING(octets) + span.at, span.size)


cdef inline bint has_line_end(const char *octets, size_t size) noexcept:
    return memchr(octets, c'\n', size) is not NULL


cdef inline bint same_name(const char *mine, size_t my_size, const char *other, size_t other_size) noexcept:
    """Whether two header names are equal in any case; both are tokens, or `other` is nothing found in a message."""
    cdef size_t i
    cdef char a, b
    if my_size != other_size:
        return False
    for i in range(my_size):
        a, b = mine[i], other[i]
        if c"A" <= a <= c"Z":
            a |= 0x20
        if c"A" <= b <= c"Z":
            b |= 0x20
        if a != b:
            return False
    return True
