/* datagrams.c - see datagrams.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <netinet/udp.h>
#include <linux/errqueue.h>
#define HAS_BATCH_CALLS 1
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#else
#define HAS_BATCH_CALLS 0
#endif

#define RECEIVE_TRIES 16       /* pending errors read away before one receive gives up */
#define FAILURE_READS 256      /* reports of the network read at a time */

/* ---- set-up */

int datagram_arena_init(datagram_arena *arena)
{
    memset(arena, 0, sizeof *arena);
    arena->octets = (char *)malloc((size_t)DATAGRAM_BATCH * DATAGRAM_SLOT_SIZE);
    if (!arena->octets) return -1;
    for (int i = 0; i < DATAGRAM_BATCH; i++) {
        struct msghdr *message = &arena->headers[i].message;
        arena->pieces[i].iov_base = arena->octets + (size_t)i * DATAGRAM_SLOT_SIZE;
        arena->pieces[i].iov_len = DATAGRAM_SIZE_MAX;
        message->msg_iov = &arena->pieces[i];
        message->msg_iovlen = 1;
        message->msg_name = &arena->slots[i].remote;
    }
    arena->used = DATAGRAM_BATCH;
    return 0;
}

void datagram_arena_free(datagram_arena *arena)
{
    free(arena->octets);
    arena->octets = NULL;
}

static int set_option(int fd, int level, int option)
{
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on);
}

static void ask_where_it_arrived(datagram_socket *socket)
{
#ifdef IP_PKTINFO
    if (!socket->is_v6) set_option(socket->fd, IPPROTO_IP, IP_PKTINFO);
#endif
#ifdef IPV6_RECVPKTINFO
    if (socket->is_v6) set_option(socket->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
#endif
}

static int kernel_can_segment(int fd)
{
#if HAS_BATCH_CALLS
    int size = 0;
    socklen_t length = sizeof size;
    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &length) == 0;
#else
    return (void)fd, 0;
#endif
}

static int kernel_coalesces(int fd)
{
#if HAS_BATCH_CALLS
    return set_option(fd, IPPROTO_UDP, UDP_GRO) == 0;
#else
    return (void)fd, 0;
#endif
}

int datagram_socket_init(datagram_socket *socket, int fd, int one_at_a_time, int segment, int coalesce)
{
    host_address bound;
    socklen_t length = sizeof bound;
    memset(socket, 0, sizeof *socket);
    memset(&bound, 0, sizeof bound);
    socket->fd = fd;
    if (getsockname(fd, &bound.any, &length) < 0) return errno;
    if (!address_size(&bound)) return EAFNOSUPPORT;
    socket->out = (datagram_out *)malloc(DATAGRAM_KEEP_MAX * sizeof *socket->out);
    if (!socket->out) return ENOMEM;
    socket->is_v6 = bound.any.sa_family == AF_INET6;
    socket->is_wildcard = address_is_wildcard(&bound);
    socket->one_at_a_time = one_at_a_time || !HAS_BATCH_CALLS;
    if (socket->is_wildcard) ask_where_it_arrived(socket);
    socket->segments = segment && kernel_can_segment(fd);
    socket->coalesces = coalesce && kernel_coalesces(fd);
    return 0;
}

void datagram_socket_free(datagram_socket *socket)
{
    free(socket->octets);
    free(socket->out);
    free(socket->failures);
    socket->octets = NULL;
    socket->out = NULL;
    socket->failures = NULL;
}

/* ---- what is not delivered */

static int is_icmp(int error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == ENOPROTOOPT
        || error == ECONNRESET || error == EHOSTDOWN;
}

/* Room for one more failure, NULL: there are enough of them. */
static datagram_failure *new_failure(datagram_socket *socket, int error, const host_address *remote)
{
    if (!socket->reports || socket->failure_count >= DATAGRAM_FAILURES_MAX) return NULL;
    datagram_failure *failure = &socket->failures[socket->failure_count++];
    failure->error = error;
    failure->remote = *remote;
    failure->size = 0;
    return failure;
}

/* The datagram that stands at `out` in the queue was refused for good. */
static void note_send_failure(datagram_socket *socket, const datagram_out *out, int error)
{
    datagram_failure *failure = new_failure(socket, error, &out->remote);
    if (!failure) return;
    failure->size = out->size < DATAGRAM_QUOTE_SIZE ? out->size : DATAGRAM_QUOTE_SIZE;
    memcpy(failure->octets, socket->octets + out->at, failure->size);
}

#if HAS_BATCH_CALLS

/* RFC 3261 section 18.4: unreachable and parameter problem count; source quench, expiry and fragmentation do not. */
static int is_undelivered(const struct sock_extended_err *error)
{
    if (error->ee_origin == SO_EE_ORIGIN_ICMP)
        return (error->ee_type == 3 && error->ee_code != 4) || error->ee_type == 12;
    return error->ee_origin == SO_EE_ORIGIN_ICMP6 && (error->ee_type == 1 || error->ee_type == 4);
}

static const struct sock_extended_err *find_extended_error(struct msghdr *message)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control))
        if ((control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_RECVERR)
            || (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_RECVERR))
            return (const struct sock_extended_err *)CMSG_DATA(control);
    return NULL;
}

/* Take one error off the descriptor's queue of them; 0 when there is none. */
static int read_failure(datagram_socket *socket)
{
    _Alignas(struct cmsghdr) char control[512];
    char quote[DATAGRAM_QUOTE_SIZE];
    host_address remote;
    struct iovec piece = { quote, sizeof quote };
    struct msghdr message;
    const struct sock_extended_err *error;
    datagram_failure *failure;
    ssize_t size;

    memset(&message, 0, sizeof message);
    memset(&remote, 0, sizeof remote);
    message.msg_name = &remote;
    message.msg_namelen = sizeof remote;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    size = recvmsg(socket->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (size < 0) return 0;
    error = find_extended_error(&message);
    if (!error || !is_undelivered(error)) return 1;
    socket->counters.icmp_errors++;
    failure = new_failure(socket, (int)error->ee_errno, &remote);
    if (failure) {
        failure->size = (uint32_t)size;
        memcpy(failure->octets, quote, (size_t)size);
    }
    return 1;
}

#endif

int datagram_report(datagram_socket *socket)
{
#if HAS_BATCH_CALLS
    if (socket->reports) return 0;
    socket->failures = (datagram_failure *)malloc(DATAGRAM_FAILURES_MAX * sizeof *socket->failures);
    if (!socket->failures) return ENOMEM;
    int in_v4 = set_option(socket->fd, IPPROTO_IP, IP_RECVERR);
    int in_v6 = socket->is_v6 ? set_option(socket->fd, IPPROTO_IPV6, IPV6_RECVERR) : 0;
    if ((socket->is_v6 ? in_v6 : in_v4) < 0) return errno;
    socket->reports = 1;
    return 0;
#else
    (void)socket;
    return EOPNOTSUPP;
#endif
}

int datagram_read_failures(datagram_socket *socket)
{
#if HAS_BATCH_CALLS
    for (int i = 0; socket->reports && i < FAILURE_READS && read_failure(socket); i++) ;
#endif
    return socket->failure_count;
}

/* ---- receive */

static void ready_headers(datagram_arena *arena, size_t control_size)
{
    int count = arena->control_size == control_size ? arena->used : DATAGRAM_BATCH;
    for (int i = 0; i < count; i++) {
        struct msghdr *message = &arena->headers[i].message;
        message->msg_namelen = sizeof arena->slots[i].remote;
        message->msg_control = control_size ? arena->slots[i].control : NULL;
        message->msg_controllen = control_size;
    }
    arena->control_size = control_size;
    arena->used = 0;
}

static int receive_one_by_one(int fd, datagram_header *headers, int room)
{
    int count = 0;
    for (; count < room; count++) {
        ssize_t size = recvmsg(fd, &headers[count].message, MSG_DONTWAIT);
        if (size < 0) return count ? count : -1;
        headers[count].size = (unsigned int)size;
    }
    return count;
}

static int receive_headers(const datagram_socket *socket, datagram_header *headers, int room)
{
#if HAS_BATCH_CALLS
    if (!socket->one_at_a_time)
        return recvmmsg(socket->fd, (struct mmsghdr *)headers, (unsigned int)room, MSG_DONTWAIT, NULL);
#endif
    return receive_one_by_one(socket->fd, headers, room);
}

/* Slots filled, 0: none.  An error of an earlier send that is reported here is counted and read away. */
static int receive_slots(datagram_socket *socket, datagram_arena *arena)
{
    int room = socket->coalesces ? DATAGRAM_GRO_SLOTS : DATAGRAM_BATCH;
    for (int i = 0; i < RECEIVE_TRIES; i++) {
        int count = receive_headers(socket, arena->headers, room);
        if (count >= 0) return count;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
        if (is_icmp(errno)) socket->counters.icmp_errors++;
        else if (errno != EINTR) socket->counters.receive_errors++;
    }
    return 0;
}

static void read_v4_arrival(datagram_slot *slot, struct cmsghdr *control)
{
#ifdef IP_PKTINFO
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(control), sizeof info);
    address_set_v4(&slot->arrived, ntohl(info.ipi_spec_dst.s_addr), 0);
#else
    (void)slot, (void)control;
#endif
}

static void read_v6_arrival(datagram_slot *slot, struct cmsghdr *control)
{
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(control), sizeof info);
    const unsigned char *octets = info.ipi6_addr.s6_addr;
    if (octets[0] == 0xff) return;                                 /* multicast is no source address */
    int is_link_local = octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80;
    address_from_octets(&slot->arrived, octets, is_link_local ? info.ipi6_ifindex : 0, 0);
}

/* Read what came with a datagram; the size of each datagram in the slot (UDP_GRO), else `size`. */
static uint32_t read_controls(datagram_slot *slot, struct msghdr *message, uint32_t size)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
#ifdef IP_PKTINFO
        if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) read_v4_arrival(slot, control);
#endif
        if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) read_v6_arrival(slot, control);
#if HAS_BATCH_CALLS
        if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(control), sizeof segment);
            if (segment > 0) size = (uint32_t)segment;
        }
#endif
    }
    return size;
}

/* Append the datagrams of a filled slot to the items; their new count. */
static int add_items(datagram_socket *socket, datagram_arena *arena, int slot, int count)
{
    struct msghdr *message = &arena->headers[slot].message;
    uint32_t size = arena->headers[slot].size, segment = size, at = 0;
    address_clear(&arena->slots[slot].arrived);
    if (message->msg_controllen) segment = read_controls(&arena->slots[slot], message, size);
    socket->counters.received_octets += size;
    do {
        datagram_item *item = &arena->items[count++];
        item->octets = (char *)arena->pieces[slot].iov_base + at;
        item->size = segment < size - at ? segment : size - at;
        item->slot = (uint16_t)slot;
        item->is_truncated = (message->msg_flags & MSG_TRUNC) != 0;
        socket->counters.truncated += item->is_truncated;
        at += segment;
    } while (at < size && count < DATAGRAM_ITEMS_MAX);
    return count;
}

int datagram_receive(datagram_socket *socket, datagram_arena *arena)
{
    int count = 0;
    ready_headers(arena, socket->is_wildcard || socket->coalesces ? DATAGRAM_CONTROL_SIZE : 0);
    arena->used = receive_slots(socket, arena);
    socket->counters.receive_calls++;
    for (int i = 0; i < arena->used; i++)
        count = add_items(socket, arena, i, count);
    socket->counters.received += (uint64_t)count;
    return count;
}

/* ---- send */

static int make_room(datagram_socket *socket, size_t size)
{
    uint32_t room = socket->octets_room ? socket->octets_room : 65536;
    while (room < socket->octets_used + size) room *= 2;
    if (room == socket->octets_room) return 0;
    char *octets = (char *)realloc(socket->octets, room);
    if (!octets) return -1;
    socket->octets = octets;
    socket->octets_room = room;
    return 0;
}

int datagram_queue(datagram_socket *socket, const char *octets, size_t size, const host_address *remote,
                   const host_address *source)
{
    if (size > DATAGRAM_SIZE_MAX) {
        socket->counters.send_errors++;
        return 1;
    }
    if (socket->count >= DATAGRAM_KEEP_MAX || socket->octets_used + size > DATAGRAM_KEEP_OCTETS) {
        socket->counters.dropped++;
        return 1;
    }
    if (socket->octets_used + size > socket->octets_room && make_room(socket, size) < 0) return -1;
    datagram_out *out = &socket->out[socket->count++];
    out->at = socket->octets_used;
    out->size = (uint32_t)size;
    out->remote = *remote;
    if (source) out->source = *source; else address_clear(&out->source);
    memcpy(socket->octets + out->at, octets, size);
    socket->octets_used += (uint32_t)size;
    return 0;
}

typedef struct {
    datagram_header headers[DATAGRAM_BATCH];
    struct iovec pieces[DATAGRAM_BATCH];
    int runs[DATAGRAM_BATCH];          /* datagrams of each header */
    _Alignas(struct cmsghdr) char controls[DATAGRAM_BATCH][DATAGRAM_CONTROL_SIZE];
} send_batch;

/* Datagrams from `at` on that one UDP_SEGMENT send carries: one size (the last may be shorter), one way. */
static int run_length(const datagram_socket *socket, int at)
{
    const datagram_out *first = &socket->out[at];
    uint32_t octets = first->size;
    int end = at + 1;
    if (!socket->segments || first->size == 0 || first->size > DATAGRAM_SEGMENT_SIZE_MAX) return 1;
    for (; end < socket->count && end - at < DATAGRAM_SEGMENTS_MAX; end++) {
        const datagram_out *next = &socket->out[end];
        if (next->size > first->size || next->size == 0 || octets + next->size > DATAGRAM_SEGMENTED_MAX) break;
        if (!address_equal(&next->remote, &first->remote) || !address_equal(&next->source, &first->source)) break;
        octets += next->size;
        if (next->size < first->size) return end + 1 - at;
    }
    return end - at;
}

static char *add_control(struct msghdr *message, char *at, int level, int type, const void *value, size_t size)
{
    struct cmsghdr *control = (struct cmsghdr *)at;
    memset(control, 0, CMSG_SPACE(size));
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(control), value, size);
    message->msg_controllen += CMSG_SPACE(size);
    return at + CMSG_SPACE(size);
}

static char *add_source(const datagram_socket *socket, struct msghdr *message, char *at, const host_address *source)
{
    if (socket->is_v6) {
        struct in6_pktinfo info;
        memset(&info, 0, sizeof info);
        address_octets(source, info.ipi6_addr.s6_addr);
        info.ipi6_ifindex = address_scope(source);
        return add_control(message, at, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
#ifdef IP_PKTINFO
    if (source->any.sa_family == AF_INET) {
        struct in_pktinfo info;
        memset(&info, 0, sizeof info);
        info.ipi_spec_dst = source->v4.sin_addr;
        return add_control(message, at, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
#endif
    return at;
}

/* Fill header `index` with the datagrams from `at` on; how many those are. */
static int fill_header(const datagram_socket *socket, send_batch *batch, int index, int at)
{
    struct msghdr *message = &batch->headers[index].message;
    datagram_out *first = &socket->out[at];
    int run = run_length(socket, at);
    const datagram_out *last = &socket->out[at + run - 1];
    char *control = batch->controls[index];
    batch->pieces[index].iov_base = socket->octets + first->at;
    batch->pieces[index].iov_len = last->at + last->size - first->at;
    memset(message, 0, sizeof *message);
    message->msg_name = &first->remote;
    message->msg_namelen = address_size(&first->remote);
    message->msg_iov = &batch->pieces[index];
    message->msg_iovlen = 1;
    if (address_size(&first->source)) control = add_source(socket, message, control, &first->source);
#if HAS_BATCH_CALLS
    if (run > 1) {
        uint16_t segment = (uint16_t)first->size;
        control = add_control(message, control, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    }
#endif
    if (message->msg_controllen) message->msg_control = batch->controls[index];
    return batch->runs[index] = run;
}

static int send_one_by_one(int fd, datagram_header *headers, int count)
{
    int sent = 0;
    for (; sent < count; sent++)
        if (sendmsg(fd, &headers[sent].message, MSG_DONTWAIT) < 0) return sent ? sent : -1;
    return sent;
}

static int send_headers(const datagram_socket *socket, datagram_header *headers, int count)
{
#if HAS_BATCH_CALLS
    if (!socket->one_at_a_time)
        return sendmmsg(socket->fd, (struct mmsghdr *)headers, (unsigned int)count, MSG_DONTWAIT);
#endif
    return send_one_by_one(socket->fd, headers, count);
}

/* The first datagrams have left: `count` of them. */
static void count_sent(datagram_socket *socket, int at, int count)
{
    socket->counters.sent += (uint64_t)count;
    if (count > 1) socket->counters.segmented += (uint64_t)count;
    for (int i = at; i < at + count; i++)
        socket->counters.sent_octets += socket->out[i].size;
}

/* The kernel refused the send that begins at `at`, a run of `run`; where to go on, -1: wait.  An error that looks like
 * the network's may be that of an earlier datagram, which the kernel tells at the next call: it is tried once more. */
static int after_error(datagram_socket *socket, int at, int run, int error)
{
    if (error == EINTR) return at;
    if (error == EAGAIN || error == EWOULDBLOCK) return -1;
    if (run > 1) {                     /* this route cannot segment: send the same ones singly */
        socket->segments = 0;
        return at;
    }
    if (is_icmp(error) && socket->refused_at != at + 1) {
        socket->refused_at = at + 1;
        return at;
    }
    if (error == ENOBUFS || error == ENOMEM) {
        socket->counters.dropped++;
        return at + 1;
    }
    if (is_icmp(error)) socket->counters.icmp_errors++;
    else socket->counters.send_errors++;
    note_send_failure(socket, &socket->out[at], error);
    return at + 1;
}

/* One system call from datagram `at` on; where to go on, -1: wait. */
static int send_some(datagram_socket *socket, int at)
{
    send_batch batch;
    int headers = 0, end = at, sent;
    while (end < socket->count && headers < DATAGRAM_BATCH)
        end += fill_header(socket, &batch, headers++, end);
    sent = send_headers(socket, batch.headers, headers);
    socket->counters.send_calls++;
    if (sent < 0) return after_error(socket, at, batch.runs[0], errno);
    for (int i = 0; i < sent; at += batch.runs[i++])
        count_sent(socket, at, batch.runs[i]);
    return at;
}

/* Forget the first `count` datagrams of the queue. */
static void forget(datagram_socket *socket, int count)
{
    if (count == socket->count) {
        socket->count = 0;
        socket->octets_used = 0;
    } else if (count) {
        uint32_t octets = socket->out[count].at;
        socket->count -= count;
        memmove(socket->out, socket->out + count, (size_t)socket->count * sizeof *socket->out);
        for (int i = 0; i < socket->count; i++) socket->out[i].at -= octets;
        socket->octets_used -= octets;
        memmove(socket->octets, socket->octets + octets, socket->octets_used);
    }
    if (socket->count == 0 && socket->octets_room > DATAGRAM_QUEUE_IDLE) {
        free(socket->octets);
        socket->octets = NULL;
        socket->octets_room = 0;
    }
}

int datagram_flush(datagram_socket *socket)
{
    int at = 0, segments = socket->segments;
    socket->is_blocked = 0;
    socket->refused_at = 0;
    while (at < socket->count) {
        int next = send_some(socket, at);
        if (next < 0) {
            socket->is_blocked = 1;
            socket->counters.kept += (uint64_t)(socket->count - at);
            break;
        }
        at = next;
    }
    forget(socket, at);
    socket->segments = segments;
    return socket->count;
}
