/* yardstick.h - the least that C can do, to measure against on a board without a compiler.
 *
 * A responder that copies the identifying headers of each datagram into a 200,
 * a generator that keeps a window of OPTIONS or calls going, and a split of a
 * message into lines.  None of it is a SIP element: it knows only what these
 * two say to each other.  It does not know Python.
 */
#ifndef SIPCORE_YARDSTICK_H
#define SIPCORE_YARDSTICK_H

#include <stddef.h>
#include <stdint.h>

enum { YARDSTICK_OPTIONS, YARDSTICK_CALL };

typedef struct {
    uint64_t operations;         /* OPTIONS answered, or calls whose BYE was answered */
    uint64_t retransmissions;    /* requests that got no answer within half a second and were sent again */
    uint64_t refused;            /* answers that were no 2xx */
    int64_t elapsed_us;
    int64_t idle_us;             /* time that the generator waited for the server */
} yardstick_counts;

/* Answer datagrams on the bound socket `fd` until its read end is shut down or no datagram came for `idle_ms`. */
int64_t yardstick_respond(int fd, int idle_ms);

/* Keep `window` operations going on the connected socket `fd` for `duration_us`.  `user` is the user part of the
 * Request-URI.  0, or -1 with errno. */
int yardstick_generate(int fd, int kind, const char *user, int window, int64_t duration_us, yardstick_counts *counts);

/* Number of lines of a head, each cut at its colon: the floor of what parsing can cost. */
int yardstick_split(const char *octets, size_t size);

#endif
