/* wheel.h - a hierarchical timer wheel over pool rows (Varghese and Lauck: "Hashed and
 * hierarchical timing wheels", 1987).
 *
 * Time is in ticks.  A timer lives on the lowest level whose digit tells its due tick
 * from `elapsed`, the last tick whose timers were taken; levels have 256 slots each and a
 * bitmap, so empty time is skipped however long it is.  Seven levels cover every tick an
 * int64 of microseconds can name: nothing is ever clamped.  A timer moves down a level
 * at most six times, one of 64*T1 once, with those of the same 256 ms.  All timers of one tick are always in one list, in the order in
 * which they were started.  Knows no clock and nothing of what a timer is for. */
#ifndef SIPCORE_WHEEL_H
#define SIPCORE_WHEEL_H

#include "pool.h"

#define WHEEL_BITS 8
#define WHEEL_SLOTS (1 << WHEEL_BITS)
#define WHEEL_WORDS (WHEEL_SLOTS / 64)
#define WHEEL_LEVELS 7
#define WHEEL_DUE (WHEEL_LEVELS * WHEEL_SLOTS)      /* the list of timers being taken */
#define WHEEL_LISTS (WHEEL_DUE + 1)
#define WHEEL_LIST_BITS 11
#define WHEEL_SERIAL_MAX (((uint64_t)1 << 39) - 1)  /* serial and row index together fill 63 bits */

typedef struct {
    int32_t next, previous;    /* a ring; the first timer's previous is the last */
    int64_t due;               /* tick */
    uint64_t stamp;            /* serial << WHEEL_LIST_BITS | list; 0: not live */
    uint64_t tag;              /* what the owner wants to hear */
} wheel_timer;

typedef struct {
    sip_pool pool;
    uint64_t occupied[WHEEL_LEVELS][WHEEL_WORDS];
    int32_t first[WHEEL_LISTS];
    int64_t elapsed;
    uint64_t serial;           /* of the timer started last */
} sip_wheel;

static inline wheel_timer *wheel_row(const sip_wheel *wheel, int32_t index)
{
    return (wheel_timer *)pool_row(&wheel->pool, index);
}

static inline int wheel_init(sip_wheel *wheel, int64_t elapsed)
{
    memset(wheel->occupied, 0, sizeof wheel->occupied);
    for (int i = 0; i < WHEEL_LISTS; i++) wheel->first[i] = -1;
    wheel->elapsed = elapsed;
    wheel->serial = 0;
    return pool_init(&wheel->pool, sizeof(wheel_timer));
}

static inline void wheel_mark(sip_wheel *wheel, int list, int is_occupied)
{
    uint64_t *word = &wheel->occupied[list >> WHEEL_BITS][(list & (WHEEL_SLOTS - 1)) >> 6];
    uint64_t bit = (uint64_t)1 << (list & 63);
    *word = is_occupied ? *word | bit : *word & ~bit;
}

static inline void wheel_link(sip_wheel *wheel, wheel_timer *timer, int32_t index, int list)
{
    int32_t head = wheel->first[list];
    if (head < 0) {
        wheel->first[list] = timer->next = timer->previous = index;
        if (list < WHEEL_DUE) wheel_mark(wheel, list, 1);
    } else {
        wheel_timer *first = wheel_row(wheel, head);
        timer->next = head;
        timer->previous = first->previous;
        wheel_row(wheel, first->previous)->next = index;
        first->previous = index;
    }
    timer->stamp = (timer->stamp >> WHEEL_LIST_BITS << WHEEL_LIST_BITS) | (uint64_t)list;
}

static inline void wheel_unlink(sip_wheel *wheel, wheel_timer *timer, int32_t index)
{
    int list = (int)(timer->stamp & ((1 << WHEEL_LIST_BITS) - 1));
    if (timer->next == index) {
        wheel->first[list] = -1;
        if (list < WHEEL_DUE) wheel_mark(wheel, list, 0);
        return;
    }
    if (wheel->first[list] == index) wheel->first[list] = timer->next;
    wheel_row(wheel, timer->next)->previous = timer->previous;
    wheel_row(wheel, timer->previous)->next = timer->next;
}

/* The list of a due tick that is not before `elapsed`. */
static inline int wheel_list(const sip_wheel *wheel, int64_t due)
{
    uint64_t differing = (uint64_t)(due ^ wheel->elapsed) | (WHEEL_SLOTS - 1);
    int level = (63 - __builtin_clzll(differing)) / WHEEL_BITS;
    return level << WHEEL_BITS | (int)(due >> (level * WHEEL_BITS) & (WHEEL_SLOTS - 1));
}

static inline void wheel_place(sip_wheel *wheel, wheel_timer *timer, int32_t index, int64_t due)
{
    timer->due = due > wheel->elapsed ? due : wheel->elapsed + 1;
    wheel_link(wheel, timer, index, wheel_list(wheel, timer->due));
}

/* Index of a new timer, or -1: no memory. */
static inline int32_t wheel_start(sip_wheel *wheel, int64_t due, uint64_t tag)
{
    int32_t index = pool_take(&wheel->pool);
    if (index < 0) return -1;
    wheel_timer *timer = wheel_row(wheel, index);
    timer->tag = tag;
    wheel->serial = wheel->serial < WHEEL_SERIAL_MAX ? wheel->serial + 1 : 1;
    timer->stamp = wheel->serial << WHEEL_LIST_BITS;
    wheel_place(wheel, timer, index, due);
    return index;
}

static inline void wheel_stop(sip_wheel *wheel, wheel_timer *timer, int32_t index)
{
    wheel_unlink(wheel, timer, index);
    pool_give(&wheel->pool, index);
}

static inline void wheel_restart(sip_wheel *wheel, wheel_timer *timer, int32_t index, int64_t due)
{
    wheel_unlink(wheel, timer, index);
    wheel_place(wheel, timer, index, due);
}

/* Due timers were found but not all of them taken. */
static inline int wheel_is_taking(const sip_wheel *wheel)
{
    return wheel->first[WHEEL_DUE] >= 0;
}

/* The first slot of a level that has timers, -1: none. */
static inline int wheel_first_slot(const sip_wheel *wheel, int level)
{
    for (int word = 0; word < WHEEL_WORDS; word++)
        if (wheel->occupied[level][word]) return word << 6 | __builtin_ctzll(wheel->occupied[level][word]);
    return -1;
}

/* The earliest list with a timer and the first tick that it covers; -1: no timer. */
static inline int wheel_first_list(const sip_wheel *wheel, int64_t *tick)
{
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        int slot = wheel_first_slot(wheel, level), shift = level * WHEEL_BITS;
        if (slot < 0) continue;
        int64_t above = wheel->elapsed >> (shift + WHEEL_BITS) << (shift + WHEEL_BITS);
        *tick = above | (int64_t)slot << shift;
        return level << WHEEL_BITS | slot;
    }
    return -1;
}

/* Detach a list: its first timer, the ring still closed. */
static inline int32_t wheel_detach(sip_wheel *wheel, int list)
{
    int32_t head = wheel->first[list];
    wheel->first[list] = -1;
    wheel_mark(wheel, list, 0);
    return head;
}

/* Deal the timers of a list out again: to lower levels, or to `to` if that is not -1. */
static inline void wheel_deal(sip_wheel *wheel, int list, int to)
{
    int32_t head = wheel_detach(wheel, list), index = head;
    do {
        wheel_timer *timer = wheel_row(wheel, index);
        int32_t next = timer->next;
        wheel_link(wheel, timer, index, to >= 0 ? to : wheel_list(wheel, timer->due));
        index = next;
    } while (index != head);
}

/* Move on to the next tick that has timers and is not after `now`; 0: there is none, and
 * `elapsed` is `now`. */
static inline int wheel_advance(sip_wheel *wheel, int64_t now)
{
    int64_t tick;
    int list;
    while ((list = wheel_first_list(wheel, &tick)) >= 0 && tick <= now) {
        wheel->elapsed = tick;
        wheel_deal(wheel, list, list < WHEEL_SLOTS ? WHEEL_DUE : -1);
        if (list < WHEEL_SLOTS) return 1;
    }
    if (wheel->elapsed < now) wheel->elapsed = now;
    return 0;
}

/* Take up to `room` due timers away, in order of due tick and then of start. */
static inline int64_t wheel_take(sip_wheel *wheel, int64_t now, uint64_t *tags, int64_t room)
{
    int64_t count = 0;
    while (count < room) {
        int32_t index = wheel->first[WHEEL_DUE];
        if (index < 0) {
            if (!wheel_advance(wheel, now)) break;
            continue;
        }
        wheel_timer *timer = wheel_row(wheel, index);
        tags[count++] = timer->tag;
        wheel_stop(wheel, timer, index);
    }
    return count;
}

#endif
