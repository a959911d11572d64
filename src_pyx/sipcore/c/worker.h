/* worker.h - the number of the worker that made a name, coded in its first 16 digits.
 *
 * A word of a name is a keyed hash: its low 40 bits stay, its high 24 bits give way to
 * the worker's number under a mask that these 40 bits and a secret of the group make.
 * Of 24 bits 8 are the number and 16 are zero, so that hardly one foreign word in 65,536
 * is taken for one of ours.  The mask hides a number, it guards nothing: a name says whom
 * to ask, never what may be done. */
#ifndef SIPCORE_WORKER_H
#define SIPCORE_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "address.h"

#define WORKER_COUNT 256
#define WORKER_NONE (-1)
#define WORKER_AT 40
#define WORKER_REST (((uint64_t)1 << WORKER_AT) - 1)
#define WORKER_DIGITS 16

/* The word with the number of `worker` in it; `secret` is odd. */
static inline uint64_t worker_seal(uint64_t word, uint64_t secret, int worker)
{
    uint64_t rest = word & WORKER_REST;
    uint64_t mask = (rest * secret) >> WORKER_AT;
    return rest | (mask ^ (uint64_t)worker) << WORKER_AT;
}

/* The worker whose number a word holds, or WORKER_NONE. */
static inline int worker_of_word(uint64_t word, uint64_t secret)
{
    uint64_t mask = ((word & WORKER_REST) * secret) >> WORKER_AT;
    uint64_t number = word >> WORKER_AT ^ mask;
    return number < WORKER_COUNT ? (int)number : WORKER_NONE;
}

/* The worker whose number 16 lower-case hexadecimal digits hold, or WORKER_NONE. */
static inline int worker_of_digits(const char *digits, uint64_t secret)
{
    uint64_t word = 0;
    for (int i = 0; i < WORKER_DIGITS; i++) {
        unsigned digit = (unsigned char)digits[i];
        if (digit - '0' < 10) digit -= '0';
        else if (digit - 'a' < 6) digit -= 'a' - 10;
        else return WORKER_NONE;
        word = word << 4 | digit;
    }
    return worker_of_word(word, secret);
}

/* ---- letters: what one worker sends another, this head and then octets */

#define LETTER_STEPS 28

enum letter_kind {
    LETTER_MESSAGE = 'M',        /* a message that came in on `flow` */
    LETTER_WRITE = 'W',          /* octets for the reader's `flow` */
    LETTER_CLOSE = 'C',          /* the reader's `flow` is to be closed */
    LETTER_ENDED = 'E',          /* the writer's `flow` has ended */
};

typedef struct {
    uint8_t kind;
    uint8_t writer;              /* the worker whose `flow` this is about; of LETTER_WRITE and _CLOSE the sender */
    uint8_t transport;
    uint8_t steps;               /* workers still to be asked, the next one first; the last one has to take it */
    uint8_t path[LETTER_STEPS];
    int64_t flow;
    host_address bound;          /* the local address as it was opened */
    host_address reached;        /* the one that it was reached on; AF_UNSPEC: the same */
    host_address remote;
} letter_head;

#endif
