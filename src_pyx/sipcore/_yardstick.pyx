# distutils: sources = src_pyx/sipcore/c/yardstick.c
"""The C yardstick that an installed package measures itself against, see c/yardstick.h.

Knows two things to say and to answer; is no SIP element and is used by `sipcore bench` alone.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

cdef extern from "yardstick.h" nogil:
    ctypedef struct yardstick_counts:
        uint64_t operations, retransmissions, refused
        int64_t elapsed_us, idle_us
    enum:
        YARDSTICK_OPTIONS
        YARDSTICK_CALL
    int64_t yardstick_respond(int fd, int idle_ms)
    int yardstick_generate(int fd, int kind, const char *user, int window, int64_t duration_us,
                           yardstick_counts *counts)
    int yardstick_split(const char *octets, size_t size)

cdef extern from "errno.h":
    int errno


def respond(fd: int, idle_ms: int) -> int:
    """Answer datagrams on a bound UDP socket until none came for `idle_ms`; how many were answered."""
    cdef int file = fd, wait = idle_ms
    cdef int64_t answered
    with nogil:
        answered = yardstick_respond(file, wait)
    return answered


def generate(fd: int, kind: str, user: str, window: int, seconds: float) -> dict[str, int]:
    """Keep `window` operations ("options" or "call") going on a connected UDP socket over IPv4.

    Returns operations, retransmissions, refused, elapsed_us and idle_us.  OSError when the socket is of no use.
    """
    cdef yardstick_counts counts
    cdef bytes name = user.encode()
    cdef const char *text = PyBytes_AS_STRING(name)
    cdef int file = fd, width = window, result
    cdef int what = {"options": YARDSTICK_OPTIONS, "call": YARDSTICK_CALL}[kind]
    cdef int64_t duration_us = <int64_t>(seconds * 1e6)
    with nogil:
        result = yardstick_generate(file, what, text, width, duration_us, &counts)
    if result:
        raise OSError(errno, "the load generator cannot use this socket")
    return counts


def split(messages: list[bytes], rounds: int) -> int:
    """Split every message `rounds` times into lines and names, in C; the number of lines found."""
    cdef Py_ssize_t i, j, count = rounds
    cdef int64_t lines = 0
    cdef bytes message
    for i in range(count):
        for message in messages:
            lines += yardstick_split(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
    return lines
