"""Transactions: their rows, keys and machines (RFC 3261 section 17, RFC 6026, RFC 4320).

The machines come from `sipcore.machines` and are packed into one dense array
when this room is imported.  A row is named by its index inside one call and by
a handle (generation and index) wherever Python code may run in between.

Deadlines that all last equally long (64*T1, T4) stand in two queues ordered by
construction; everything that repeats stands in the engine's timer wheel.

This room does not know sockets, the clock, dialogs or what a message says
beyond the spans that identify it; it never calls Python code.
"""

from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from sipcore import machines


cdef extern from "pool.h" nogil:
    int pool_init(sip_pool *pool, size_t row_size)
    void pool_free(sip_pool *pool)
    int pool_next(const sip_pool *pool, int index)
    void *pool_row(const sip_pool *pool, int index)
    void *pool_row_checked(const sip_pool *pool, int64_t index)
    int pool_take(sip_pool *pool)
    void pool_give(sip_pool *pool, int index)
    size_t pool_octets(const sip_pool *pool)


cdef extern from "sources.h" nogil:
    int sources_init(source_table *sources, sip_key key)
    void sources_free(source_table *sources)
    int32_t source_hold(source_table *sources, int32_t index, const unsigned char *prefix)
    void source_release(source_table *sources, int32_t index)
    size_t sources_octets(const source_table *sources)


cdef extern from "transactions.h" nogil:
    enum: TRANSACTION_MACHINES, TRANSACTION_STATES, TRANSACTION_EVENTS
    enum: QUEUE_NONE, QUEUE_WHEEL, QUEUE_T4, QUEUE_64_T1, QUEUE_COUNT
    ctypedef struct transaction_cell:
        uint32_t actions
        uint8_t next_state, known
    ctypedef struct transaction_timer:
        uint32_t action, first_ms, limit_ms
        uint8_t event, on_reliable
    int hash_init(hash_table *table)
    void hash_free(hash_table *table)
    size_t hash_octets(const hash_table *table)
    int hash_add(hash_table *table, uint32_t hash, uint32_t row)
    uint32_t hash_next(const hash_table *table, uint32_t hash, hash_cursor *cursor)
    void hash_remove(hash_table *table, uint32_t hash, uint32_t row)


cdef enum:
    TIMER_ROOM = 24
    SAME_ON_RELIABLE = 0
    NEVER_ON_RELIABLE = 1
    ZERO_ON_RELIABLE = 2
    GENERATION_MAX = 0x7fffffff

cdef transaction_cell cells[TRANSACTION_MACHINES][TRANSACTION_STATES][TRANSACTION_EVENTS]
cdef transaction_timer timers[TIMER_ROOM]
cdef int timer_count = 0
cdef uint32_t start_mask = 0
cdef uint32_t timer_mask = STOP_TIMERS | STOP_RETRANSMISSION
cdef uint32_t t2_ms = machines.T2_MS
cdef uint32_t t1_64_ms = 64 * machines.T1_MS


cdef int pack_machines() except -1:
    """Copy the four tables into `cells`, the timers into `timers`."""
    global timer_count, start_mask, timer_mask
    memset(cells, 0, sizeof(cells))
    for number, machine in enumerate(machines.MACHINES.values()):
        for (state, event), (next_state, actions) in machine.items():
            cells[<int>number][<int>state][<int>event] = transaction_cell(actions, next_state, 1)
    reliable = list(machines.Reliable)
    for action, timer in machines.TIMERS.items():
        timers[timer_count] = transaction_timer(
            action, timer.first_ms, timer.limit_ms or 0, timer.event, reliable.index(timer.on_reliable)
        )
        start_mask |= <uint32_t>action
        timer_count += 1
    timer_mask |= start_mask
    return 0


cdef int check_numbers() except -1:
    """The C constants of the .pxd are the numbers of `sipcore.machines`."""
    constants = {
        machines.TERMINATED: STATE_TERMINATED, machines.INITIAL: STATE_INITIAL, machines.CALLING: STATE_CALLING,
        machines.TRYING: STATE_TRYING, machines.PROCEEDING: STATE_PROCEEDING, machines.ACCEPTED: STATE_ACCEPTED,
        machines.ACKNOWLEDGED: STATE_ACKNOWLEDGED, machines.COMPLETED: STATE_COMPLETED,
        machines.CONFIRMED: STATE_CONFIRMED,
    }
    if any(state != number for state, number in constants.items()):
        raise ImportError("the states of sipcore.machines were renumbered")
    events = [
        machines.TU_REQUEST, machines.TU_1XX, machines.TU_2XX, machines.TU_300_699, machines.RECV_REQUEST,
        machines.RECV_ACK, machines.RECV_1XX, machines.RECV_2XX, machines.RECV_300_699, machines.TIMER_B,
        machines.TIMER_I, machines.TIMER_K, machines.TRANSPORT_ERROR,
    ]
    numbers = [
        EVENT_TU_REQUEST, EVENT_TU_1XX, EVENT_TU_2XX, EVENT_TU_300_699, EVENT_RECV_REQUEST, EVENT_RECV_ACK,
        EVENT_RECV_1XX, EVENT_RECV_2XX, EVENT_RECV_300_699, EVENT_TIMER_B, EVENT_TIMER_I, EVENT_TIMER_K,
        EVENT_TRANSPORT_ERROR,
    ]
    if events != numbers:
        raise ImportError("the events of sipcore.machines were renumbered")
    actions = [
        machines.SEND_REQUEST, machines.SEND_RESPONSE, machines.SEND_ACK, machines.SEND_TRYING, machines.PASS_TO_TU,
        machines.INFORM_TIMEOUT, machines.INFORM_TRANSPORT_ERROR, machines.INFORM_NO_ACK, machines.STOP_TIMERS,
        machines.STOP_RETRANSMISSION,
    ]
    if actions != [1 << bit for bit in range(10)] or list(machines.MACHINES)[2] != "invite_server":
        raise ImportError("the actions or machines of sipcore.machines were renumbered")
    return 0


check_numbers()
pack_machines()


def transition(machine: int, state: int, event: int) -> tuple[int, int] | None:
    """The packed cell of a machine: (next state, actions), or None where the event is ignored.

    Numbers are those of `sipcore.machines`: the position in MACHINES, State and Event.
    """
    if not (0 <= machine < TRANSACTION_MACHINES and 0 <= state < TRANSACTION_STATES and 0 <= event < TRANSACTION_EVENTS):
        raise ValueError("no such machine, state or event")
    cdef transaction_cell cell = cells[<int>machine][<int>state][<int>event]
    return (cell.next_state, cell.actions) if cell.known else None


cdef inline bint is_unfinished(int state) noexcept:
    return state < STATE_ACCEPTED and state != STATE_TERMINATED


cdef class TransactionTable:
    def __cinit__(self, bytes key not None, TimerWheel wheel not None, uint64_t wheel_tag):
        """`key`: 16 octets; `wheel_tag` is added to a row's index to make the tag of its timer."""
        cdef int queue
        if len(key) != 16:
            raise ValueError("the key of a transaction table has 16 octets")
        self.key = siphash_key(<const char *>key)
        if (pool_init(&self.pool, sizeof(transaction_row)) or hash_init(&self.by_key) or hash_init(&self.by_dialog)
                or sources_init(&self.sources, self.key)):
            raise MemoryError
        self.by_flow = {}
        self.wheel = wheel
        self.wheel_tag = wheel_tag
        for queue in range(4):
            self.queue_head[queue] = self.queue_tail[queue] = TRANSACTION_NONE

    def __dealloc__(self):
        self.drop_references()
        pool_free(&self.pool)
        hash_free(&self.by_key)
        hash_free(&self.by_dialog)
        sources_free(&self.sources)

    cdef void drop_references(self) noexcept:
        """Let go of what every row refers to, without its machine."""
        cdef int index = -1
        if self.pool.chunks == NULL:
            return
        while (index := pool_next(&self.pool, index + 1)) >= 0:
            if self.row(index).generation:
                self.release(self.row(index))

    cdef void release(self, transaction_row *row) noexcept:
        cdef PyObject *octets = <PyObject *>row.octets
        cdef PyObject *owner = <PyObject *>row.owner
        row.octets = row.owner = NULL
        Py_XDECREF(octets)
        Py_XDECREF(owner)

    def clear(self) -> None:
        """Forget every transaction without telling anybody."""
        cdef int index = -1
        while (index := pool_next(&self.pool, index + 1)) >= 0:
            if self.row(index).generation:
                self.remove(index)

    def state(self, int64_t handle) -> int:
        """Where a transaction stands, a number of `sipcore.machines.State`; TERMINATED when it is over."""
        cdef uint32_t index = self.index_of(handle)
        return STATE_TERMINATED if index == TRANSACTION_NONE else self.row(index).state

    @property
    def keyed_by_dialog(self) -> int:
        return self.by_dialog.count

    @property
    def live(self) -> int:
        return self.pool.used

    @property
    def source_count(self) -> int:
        """How many addresses (IPv6: /64 networks) hold a transaction of this table."""
        return self.sources.rows.used

    @property
    def octets(self) -> int:
        """Memory of rows and buckets, without what rows refer to."""
        return pool_octets(&self.pool) + hash_octets(&self.by_key) + hash_octets(&self.by_dialog)

    @property
    def source_octets(self) -> int:
        """Memory of the rows that count for sources."""
        return sources_octets(&self.sources)

    # rows

    cdef uint32_t add(self, int machine, transaction_key key, uint32_t user_agent, int64_t flow, bint reliable) noexcept:
        """A new row in state INITIAL; TRANSACTION_NONE when memory is at its end."""
        cdef int taken = pool_take(&self.pool)
        cdef transaction_row *row
        if taken < 0:
            return TRANSACTION_NONE
        row = self.row(taken)
        self.generation = self.generation % GENERATION_MAX + 1
        row.generation = self.generation
        row.key = key
        row.user_agent = user_agent
        row.flow = flow
        row.machine = machine
        row.state = STATE_INITIAL
        row.flags = TRANSACTION_RELIABLE if reliable else 0
        if hash_add(&self.by_key, <uint32_t>key.low, taken) < 0:
            pool_give(&self.pool, taken)
            return TRANSACTION_NONE
        self.started += 1
        self.unfinished += 1
        return taken

    cdef int charge(self, uint32_t index, int32_t source, const unsigned char *prefix) except -1:
        cdef transaction_row *row = self.row(index)
        source = source_hold(&self.sources, source, prefix)
        if source == SOURCE_NONE:
            raise MemoryError
        row.source = source + 1
        source_at(&self.sources, source).unfinished += is_unfinished(row.state)
        return 0

    cdef inline void count_unfinished(self, transaction_row *row, int change) noexcept:
        self.unfinished += change
        if row.source:
            source_at(&self.sources, row.source - 1).unfinished += change

    cdef int note_flow(self, uint32_t index) except -1:
        """Remember which rows hang on a connection, so that its end finds them; datagram flows do not end."""
        cdef transaction_row *row = self.row(index)
        cdef set handles
        if not row.flags & TRANSACTION_RELIABLE:
            return 0
        handles = self.by_flow.get(row.flow)
        if handles is None:
            handles = self.by_flow[row.flow] = set()
        handles.add(self.handle_of(index))
        return 0

    cdef list take_flow(self, int64_t flow):
        return list(self.by_flow.pop(flow, ()))

    cdef void drop_flow(self, uint32_t index) noexcept:
        cdef transaction_row *row = self.row(index)
        cdef set handles
        if row.flags & TRANSACTION_RELIABLE and (handles := self.by_flow.get(row.flow)) is not None:
            handles.discard(self.handle_of(index))
            if not handles:
                del self.by_flow[row.flow]

    cdef void remove(self, uint32_t index) noexcept:
        cdef transaction_row *row = self.row(index)
        cdef PyObject *octets = <PyObject *>row.octets
        cdef PyObject *owner = <PyObject *>row.owner
        self.count_unfinished(row, -<int>is_unfinished(row.state))
        if row.source:
            source_release(&self.sources, row.source - 1)
        self.drop_flow(index)
        self.dequeue(index)
        hash_remove(&self.by_key, <uint32_t>row.key.low, index)
        if row.flags & TRANSACTION_IN_DIALOG_TABLE:
            hash_remove(&self.by_dialog, <uint32_t>row.dialog_key, index)
        pool_give(&self.pool, index)
        Py_XDECREF(octets)
        Py_XDECREF(owner)

    cdef inline transaction_row *row(self, uint32_t index) noexcept:
        return <transaction_row *>pool_row(&self.pool, index)

    cdef uint32_t find(self, transaction_key key) noexcept:
        cdef hash_cursor cursor = start_of_search()
        cdef uint32_t index
        cdef transaction_row *row
        while (index := hash_next(&self.by_key, <uint32_t>key.low, &cursor)) != TRANSACTION_NONE:
            row = self.row(index)
            if row.key.low == key.low and row.key.high == key.high:
                break
        return index

    cdef int add_to_dialogs(self, uint32_t index, uint64_t dialog_key) except -1:
        """Make the row findable by what a merged request or the ACK to its 2xx shares with it."""
        cdef transaction_row *row = self.row(index)
        if hash_add(&self.by_dialog, <uint32_t>dialog_key, index) < 0:
            raise MemoryError
        row.dialog_key = dialog_key
        row.flags |= TRANSACTION_IN_DIALOG_TABLE
        return 0

    cdef uint32_t next_in_dialog(self, uint64_t dialog_key, hash_cursor *cursor) noexcept:
        cdef uint32_t index
        while (index := hash_next(&self.by_dialog, <uint32_t>dialog_key, cursor)) != TRANSACTION_NONE:
            if self.row(index).dialog_key == dialog_key:
                break
        return index

    cdef bint has_dialog(self, uint64_t dialog_key) noexcept:
        cdef hash_cursor cursor = start_of_search()
        return self.next_in_dialog(dialog_key, &cursor) != TRANSACTION_NONE

    cdef int64_t handle_of(self, uint32_t index) noexcept:
        return <int64_t>self.row(index).generation << 32 | index

    cdef uint32_t index_of(self, int64_t handle) noexcept:
        """The row that a handle names; TRANSACTION_NONE when it is over, or never was."""
        cdef transaction_row *row = <transaction_row *>pool_row_checked(&self.pool, <uint32_t>handle)
        if row == NULL or row.generation == 0 or row.generation != <uint64_t>handle >> 32:
            return TRANSACTION_NONE
        return <uint32_t>handle

    # machines

    cdef uint32_t transit(self, uint32_t index, int event, int64_t now_us) noexcept:
        """Move the row; its actions with HANDLED, or 0 when the event is ignored.  Timers are set, not armed."""
        cdef transaction_row *row = self.row(index)
        cdef transaction_cell cell = cells[row.machine][row.state][event]
        cdef uint32_t doubled_ms = 0, starts
        cdef int timer
        if not cell.known:
            return 0
        if row.interval_ms and event == row.repeat_event:
            doubled_ms = 2 * row.interval_ms
            row.interval_ms = 0
        if cell.actions & (STOP_TIMERS | STOP_RETRANSMISSION):
            row.interval_ms = 0
        if cell.actions & STOP_TIMERS:
            row.deadline_us = 0
        self.count_unfinished(row, <int>is_unfinished(cell.next_state) - <int>is_unfinished(row.state))
        row.state = cell.next_state
        starts = cell.actions & start_mask
        timer = 0
        while starts and timer < timer_count:
            if starts & timers[timer].action:
                starts &= ~timers[timer].action
                self.start_timer(row, timer, doubled_ms, now_us)
            timer += 1
        return cell.actions | HANDLED

    cdef void start_timer(self, transaction_row *row, int timer, uint32_t doubled_ms, int64_t now_us) noexcept:
        """Set a timer of the row; one that its own expiry starts takes `doubled_ms`, up to its limit."""
        cdef transaction_timer *kind = &timers[timer]
        cdef bint reliable = row.flags & TRANSACTION_RELIABLE
        if reliable and kind.on_reliable == ZERO_ON_RELIABLE:
            self.count_unfinished(row, -<int>is_unfinished(row.state))
            row.state = STATE_TERMINATED
            return
        if reliable and kind.on_reliable == NEVER_ON_RELIABLE:
            return
        if kind.limit_ms == 0:
            row.deadline_us = now_us + <int64_t>kind.first_ms * 1000
            row.deadline_event = kind.event
            return
        if doubled_ms and row.repeat_event == kind.event:
            row.interval_ms = min(doubled_ms, kind.limit_ms)
            row.repeat_us += <int64_t>row.interval_ms * 1000
            if row.repeat_us > now_us:
                return
        else:
            row.interval_ms = kind.first_ms
        row.repeat_event = kind.event
        row.repeat_us = now_us + <int64_t>row.interval_ms * 1000

    cdef int arm(self, uint32_t index) except -1:
        """Put the row where its timers wait: nowhere, in the queue of its deadline, or in the wheel."""
        cdef transaction_row *row = self.row(index)
        cdef int64_t due = row.deadline_us
        cdef int queue
        if row.state == STATE_TERMINATED or (due == 0 and row.interval_ms == 0):
            self.dequeue(index)
            return 0
        if row.interval_ms == 0:
            queue = self.queue_for(index)
            if queue != QUEUE_WHEEL:
                self.dequeue(index)
                self.enqueue(index, queue)
                return 0
        elif due == 0 or row.repeat_us < due:
            due = row.repeat_us
        if row.queue == QUEUE_WHEEL and self.wheel.restart(row.wait.timer, due):
            return 0
        self.dequeue(index)
        row.wait.timer = self.wheel.start(due, self.wheel_tag | index)
        row.queue = QUEUE_WHEEL
        return 0

    cdef int queue_for(self, uint32_t index) noexcept:
        """The queue at whose end the row's deadline keeps the order; the wheel when there is none."""
        cdef transaction_row *row = self.row(index)
        cdef int queue = QUEUE_64_T1
        cdef uint32_t last
        if row.deadline_event == EVENT_TIMER_I or row.deadline_event == EVENT_TIMER_K:
            queue = QUEUE_T4
        last = self.queue_tail[queue]
        if last == index or (last != TRANSACTION_NONE and self.row(last).deadline_us > row.deadline_us):
            return QUEUE_WHEEL
        return queue

    cdef int64_t step(self, uint32_t index, int event, int64_t now_us) except -1:
        """`transit` and `arm`."""
        cdef uint32_t actions = self.transit(index, event, now_us)
        if actions & timer_mask or (actions and self.row(index).state == STATE_TERMINATED):
            self.arm(index)
        return actions

    cdef bint heeds(self, uint32_t index, int event) noexcept:
        """Whether the row's state has a transition for the event."""
        cdef transaction_row *row = self.row(index)
        return cells[row.machine][row.state][event].known

    cdef uint32_t oldest_finished(self, int64_t now_us) noexcept:
        """A finished non-INVITE server transaction that no client should repeat any more: it ended two T2 ago."""
        cdef uint32_t index = self.queue_head[<int>QUEUE_64_T1]
        cdef transaction_row *row
        cdef int looks = 4
        while index != TRANSACTION_NONE and looks:
            row = self.row(index)
            if row.deadline_us - now_us > (t1_64_ms - 2 * t2_ms) * <int64_t>1000:
                return TRANSACTION_NONE
            if row.machine == NON_INVITE_SERVER:
                return index
            index = row.wait.link.next
            looks -= 1
        return TRANSACTION_NONE

    cdef int start_deadline(self, uint32_t index, int event, int64_t due_us) except -1:
        """Give the row a deadline that no transition started (RFC 3261 section 9.1: 64*T1 after a CANCEL)."""
        cdef transaction_row *row = self.row(index)
        row.deadline_us = due_us
        row.deadline_event = event
        self.arm(index)
        return 0

    # time

    cdef uint32_t take_overdue(self, int64_t now_us) noexcept:
        """A row of the two queues whose deadline has passed, taken off; TRANSACTION_NONE when there is none."""
        cdef uint32_t index
        cdef int queue
        for queue in range(<int>QUEUE_T4, <int>QUEUE_COUNT):
            index = self.queue_head[queue]
            if index != TRANSACTION_NONE and self.row(index).deadline_us <= now_us:
                self.dequeue(index)
                return index
        return TRANSACTION_NONE

    cdef int event_due(self, uint32_t index, int64_t now_us) noexcept:
        """Which timer of the row has expired; -1: none.  A deadline comes before a repetition."""
        cdef transaction_row *row = self.row(index)
        if row.deadline_us and row.deadline_us <= now_us:
            return row.deadline_event
        if row.interval_ms and row.repeat_us <= now_us:
            return row.repeat_event
        return -1

    cdef int64_t next_due_us(self) noexcept:
        """When the first row of the two queues is due; -1: they are empty.  The wheel is asked by its owner."""
        cdef int64_t due = -1
        cdef uint32_t index
        cdef int queue
        for queue in range(<int>QUEUE_T4, <int>QUEUE_COUNT):
            index = self.queue_head[queue]
            if index != TRANSACTION_NONE and (due < 0 or self.row(index).deadline_us < due):
                due = self.row(index).deadline_us
        return due

    # the parts

    cdef void enqueue(self, uint32_t index, int queue) noexcept:
        cdef transaction_row *row = self.row(index)
        cdef uint32_t last = self.queue_tail[queue]
        row.queue = queue
        row.wait.link.previous = last
        row.wait.link.next = TRANSACTION_NONE
        self.queue_tail[queue] = index
        if last == TRANSACTION_NONE:
            self.queue_head[queue] = index
        else:
            self.row(last).wait.link.next = index

    cdef void dequeue(self, uint32_t index) noexcept:
        """Take the row out of the queue or the wheel that it waits in."""
        cdef transaction_row *row = self.row(index)
        cdef int queue = row.queue
        row.queue = QUEUE_NONE
        if queue == QUEUE_WHEEL:
            self.wheel.cancel(row.wait.timer)
            return
        if queue == QUEUE_NONE:
            return
        if row.wait.link.previous == TRANSACTION_NONE:
            self.queue_head[queue] = row.wait.link.next
        else:
            self.row(row.wait.link.previous).wait.link.next = row.wait.link.next
        if row.wait.link.next == TRANSACTION_NONE:
            self.queue_tail[queue] = row.wait.link.previous
        else:
            self.row(row.wait.link.next).wait.link.previous = row.wait.link.previous
