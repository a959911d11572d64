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

