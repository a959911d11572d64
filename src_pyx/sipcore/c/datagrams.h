/* datagrams.h - many datagrams a system call.
 *
 * recvmmsg into an arena, sendmmsg from a queue, with UDP_GRO and UDP_SEGMENT where the
 * kernel has them, IP_PKTINFO for sockets bound to a wildcard; one recvmsg or sendmsg a
 * datagram elsewhere.  Knows descriptors and addresses; no SIP, no Python. */
#ifndef SIPCORE_DATAGRAMS_H
#define SIPCORE_DATAGRAMS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "address.h"

#define DATAGRAM_BATCH 64                    /* a system call */
#define DATAGRAM_SIZE_MAX 65535              /* no datagram is larger: nothing is cut off */
#define DATAGRAM_SLOT_SIZE (65536 + 17 * 64) /* slots begin in different cache sets */
#define DATAGRAM_ITEMS_MAX 2048              /* datagrams of one receive, with UDP_GRO */
#define DATAGRAM_GRO_SLOTS 16                /* slots used with UDP_GRO, up to 128 datagrams in each */
#define DATAGRAM_KEEP_MAX 256                /* kept while the kernel takes no more */
#define DATAGRAM_KEEP_OCTETS (4u << 20)      /* and their octets at most */
#define DATAGRAM_QUEUE_IDLE (256u << 10)     /* a queue that grew larger is freed when it is empty */
#define DATAGRAM_SEGMENTS_MAX 64             /* UDP_SEGMENT: of one send */
#define DATAGRAM_SEGMENTED_MAX 65000         /* octets of one send */
#define DATAGRAM_SEGMENT_SIZE_MAX 1400       /* larger ones may not fit the route and are sent alone */
#define DATAGRAM_CONTROL_SIZE 128
#define DATAGRAM_FAILURES_MAX 64             /* kept until they are asked for; further ones are only counted */
#define DATAGRAM_QUOTE_SIZE 576              /* octets kept of one; ICMP quotes about as many */

/* As struct mmsghdr, which not every system has. */
typedef struct {
    struct msghdr message;
    unsigned int size;
} datagram_header;

/* One that was not delivered: the error, where it was to go, and as much of it as is known. */
typedef struct {
    host_address remote;
    int error;
    uint32_t size;
    char octets[DATAGRAM_QUOTE_SIZE];
} datagram_failure;

/* One received datagram; `octets` lives until the next receive into the same arena. */
typedef struct {
    char *octets;
    uint32_t size;
    uint16_t slot;
    uint16_t is_truncated;
} datagram_item;

typedef struct {
    host_address remote;
    host_address arrived;       /* the address that it was sent to; AF_UNSPEC: not asked for, or not told */
    _Alignas(struct cmsghdr) char control[DATAGRAM_CONTROL_SIZE];
} datagram_slot;

/* Memory to receive into; pages are used as far as datagrams touch them. */
typedef struct {
    datagram_item items[DATAGRAM_ITEMS_MAX];
    datagram_slot slots[DATAGRAM_BATCH];
    struct iovec pieces[DATAGRAM_BATCH];
    datagram_header headers[DATAGRAM_BATCH];
    int used;                  /* headers that the kernel wrote last time */
    size_t control_size;       /* of each header */
    char *octets;
} datagram_arena;

typedef struct {
    uint32_t at;               /* in datagram_queue.octets */
    uint32_t size;
    host_address remote;
    host_address source;        /* AF_UNSPEC: the kernel chooses */
} datagram_out;

typedef struct {
    uint64_t received, received_octets, truncated, receive_calls;
    uint64_t sent, sent_octets, send_calls, segmented;
    uint64_t dropped;          /* the kernel took no more for too long, or had no buffers */
    uint64_t send_errors;      /* refused by the kernel: no route, too large, not permitted */
    uint64_t receive_errors;
    uint64_t icmp_errors;      /* a port or host was reported unreachable */
    uint64_t kept;             /* times that a datagram had to wait */
} datagram_counters;

typedef struct {
    int fd;
    int is_v6, is_wildcard;
    int one_at_a_time;         /* do without recvmmsg and sendmmsg */
    int segments, coalesces;   /* UDP_SEGMENT and UDP_GRO are in use */
    int is_blocked;            /* the kernel takes no more: flush when the descriptor is writable */
    int reports;               /* what is not delivered is kept in `failures` */
    int failure_count;
    datagram_failure *failures; /* DATAGRAM_FAILURES_MAX, or NULL */
    int refused_at;            /* datagram + 1 at which the kernel told of an error */
    int count;                 /* datagrams that wait */
    uint32_t octets_used, octets_room;
    char *octets;
    datagram_out *out;         /* DATAGRAM_KEEP_MAX */
    datagram_counters counters;
} datagram_socket;

int datagram_arena_init(datagram_arena *arena);
void datagram_arena_free(datagram_arena *arena);

/* Look at a bound socket and set its options; 0, or an errno. */
int datagram_socket_init(datagram_socket *socket, int fd, int one_at_a_time, int segment, int coalesce);
void datagram_socket_free(datagram_socket *socket);

/* Have the kernel tell what the network could not deliver (IP_RECVERR); 0, or an errno.  From then on an error is an
 * event of the descriptor. */
int datagram_report(datagram_socket *socket);

/* What was not delivered since the failures were forgotten; how many there are now.  Never blocks. */
int datagram_read_failures(datagram_socket *socket);

/* Datagrams now in the arena, 0: none waits.  Never blocks. */
int datagram_receive(datagram_socket *socket, datagram_arena *arena);

/* Whether datagram_flush should run before another datagram of `size` octets is queued. */
static inline int datagram_is_full(const datagram_socket *socket, size_t size)
{
    return !socket->is_blocked
        && (socket->count >= DATAGRAM_BATCH || socket->octets_used + size > DATAGRAM_KEEP_OCTETS);
}

/* Queue one datagram; 0, 1: dropped and counted, -1: no memory.  `source` may be NULL. */
int datagram_queue(datagram_socket *socket, const char *octets, size_t size, const host_address *remote,
                   const host_address *source);

/* Datagrams that still wait (then is_blocked says so), 0: all gone. */
int datagram_flush(datagram_socket *socket);

#endif
