"""Which timers are due: a hierarchical wheel.  Knows no clock and no meaning of a timer."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from sipcore.pools cimport sip_pool


cdef extern from "wheel.h" nogil:
    ctypedef struct wheel_timer:
        int64_t due
        uint64_t stamp
        uint64_t tag
    ctypedef struct sip_wheel:
        sip_pool pool
        int64_t elapsed
        uint64_t serial


cdef class TimerWheel:
    cdef sip_wheel wheel

    # Start a timer; its handle, > 0.  An instant that has passed means the next tick.
    cpdef int64_t start(self, int64_t due_us, uint64_t tag) except -1
    # Both: False when the timer was taken or cancelled before, or never was.
    cpdef bint cancel(self, int64_t timer) noexcept
    cpdef bint restart(self, int64_t timer, int64_t due_us) noexcept
    # Take due timers away: the number of tags written, at most `room`.  Call again until 0.
    cdef Py_ssize_t take_due(self, int64_t now_us, uint64_t *tags, Py_ssize_t room) noexcept
    # No timer is due before this instant: exact in the 256 ms block of now, a lower bound beyond; -1: no timer.
    cpdef int64_t next_due_us(self) noexcept

    cdef wheel_timer *find(self, int64_t timer) noexcept
