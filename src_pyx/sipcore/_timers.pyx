"""Which timers are due: a hierarchical wheel behind one loop timer.

A tick is one millisecond: a timer is never taken early and at most one tick late.
Starting, cancelling and restarting are O(1) without an allocation a timer; a row is 32
octets, and memory is given back when timers end.  Timers are taken in the order of
their due ticks and, within one tick, of their starts.  A jump of time costs work for
the timers that are live, not for the time that passed; time that goes back is ignored.
A timer that is started while due ones are being taken, for an instant that has
passed, is due one tick later: taking until 0 always ends.

Does not know: a clock, the loop, callbacks, what a tag means.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.string cimport memset

from sipcore.pools cimport pool_free, pool_octets, pool_row_checked


cdef extern from "wheel.h" nogil:
    enum:
        WHEEL_DUE
        WHEEL_LIST_BITS
    int wheel_init(sip_wheel *wheel, int64_t elapsed)
    int32_t wheel_start(sip_wheel *wheel, int64_t due, uint64_t tag)
    void wheel_stop(sip_wheel *wheel, wheel_timer *timer, int32_t index)
    void wheel_restart(sip_wheel *wheel, wheel_timer *timer, int32_t index, int64_t due)
    int wheel_first_list(const sip_wheel *wheel, int64_t *tick)
    int64_t wheel_take(sip_wheel *wheel, int64_t now, uint64_t *tags, int64_t room)
    bint wheel_is_taking(const sip_wheel *wheel)


cdef enum:
    TICK_US = 1000
    INDEX_BITS = 24             # a handle is serial << 24 | index: rows are used again, handles are not
    INDEX_MASK = (1 << 24) - 1
    TAKE_ROOM = 64


cdef inline int64_t tick_not_before(int64_t instant_us) noexcept nogil:
    if instant_us <= 0:
        return 0
    if instant_us > INT64_MAX - TICK_US:
        return INT64_MAX // TICK_US
    return instant_us // TICK_US + (instant_us % TICK_US != 0)


@cython.final
@cython.no_gc
cdef class TimerWheel:
    """Timers of one monotonic clock, in microseconds; see the module's docstring.

    `now_us`: the instant at which counting starts; nothing is due before it.
    """

    def __cinit__(self, int64_t now_us=0):
        memset(&self.wheel, 0, sizeof(self.wheel))
        if wheel_init(&self.wheel, now_us // TICK_US if now_us > 0 else 0) < 0:
            raise MemoryError

    def __dealloc__(self):
        pool_free(&self.wheel.pool)

    def __len__(self):
        return self.wheel.pool.used

    def __repr__(self):
        return f"<TimerWheel {self.wheel.pool.used} timers, next_due_us={self.next_due_us()}>"

    @property
    def octets(self):
        """Octets of memory that the timers hold."""
        return sizeof(sip_wheel) + pool_octets(&self.wheel.pool)

    cdef wheel_timer *find(self, int64_t timer) noexcept:
        """The row of a live timer, or NULL."""
        cdef wheel_timer *row = <wheel_timer *>pool_row_checked(&self.wheel.pool, timer & INDEX_MASK)
        if row == NULL or timer <= 0 or row.stamp >> WHEEL_LIST_BITS != <uint64_t>(timer >> INDEX_BITS):
            return NULL
        return row

    cpdef int64_t start(self, int64_t due_us, uint64_t tag) except -1:
        """Start a timer that hands out `tag`; its handle.  MemoryError past 16,777,216 live timers."""
        cdef int32_t index = wheel_start(&self.wheel, tick_not_before(due_us), tag)
        if index < 0:
            raise MemoryError("no room for a timer")
        return <int64_t>(self.wheel.serial << INDEX_BITS) | index

    cpdef bint cancel(self, int64_t timer) noexcept:
        """Cancel a timer; False when it was taken or cancelled before, or never was."""
        cdef wheel_timer *row = self.find(timer)
        if row == NULL:
            return False
        wheel_stop(&self.wheel, row, <int32_t>(timer & INDEX_MASK))
        return True

    cpdef bint restart(self, int64_t timer, int64_t due_us) noexcept:
        """Give a live timer another instant (it keeps handle and tag); False when it no longer lives."""
        cdef wheel_timer *row = self.find(timer)
        if row == NULL:
            return False
        wheel_restart(&self.wheel, row, <int32_t>(timer & INDEX_MASK), tick_not_before(due_us))
        return True

    cdef Py_ssize_t take_due(self, int64_t now_us, uint64_t *tags, Py_ssize_t room) noexcept:
        return <Py_ssize_t>wheel_take(&self.wheel, now_us // TICK_US if now_us > 0 else 0, tags, room)

    def take(self, int64_t now_us):
        """Take all timers that are due at `now_us`: a list of their tags."""
        cdef uint64_t tags[TAKE_ROOM]
        cdef Py_ssize_t count = TAKE_ROOM, i
        cdef list taken = []
        while count > 0:
            count = self.take_due(now_us, tags, TAKE_ROOM)
            for i in range(count):
                taken.append(tags[i])
        return taken

    cpdef int64_t next_due_us(self) noexcept:
        """No timer is due before this instant; -1 without timers.

        Exact when the next timer is due in the 256 ms block that time is in, else the start of
        the block that holds it: a driver that wakes then and takes nothing asks again.
        """
        cdef int64_t tick = 0
        if wheel_is_taking(&self.wheel):
            return self.wheel.elapsed * TICK_US
        if wheel_first_list(&self.wheel, &tick) < 0:
            return -1
        return tick * TICK_US
