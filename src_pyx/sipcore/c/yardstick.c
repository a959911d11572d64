/* yardstick.c - see yardstick.h. */
#define _GNU_SOURCE

#include "yardstick.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <time.h>

enum { BATCH = 64, DATAGRAM_SIZE = 2048, WINDOW_LIMIT = 1024, TO_SIZE = 256, RETRY_US = 500000 };

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- batches of datagrams */

typedef struct {
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in peers[BATCH];
    char octets[BATCH][DATAGRAM_SIZE];
} batch;

static batch *new_batch(void)
{
    batch *made = calloc(1, sizeof *made);

    for (int i = 0; made && i < BATCH; i++) {
        made->vectors[i].iov_base = made->octets[i];
        made->headers[i].msg_hdr.msg_iov = &made->vectors[i];
        made->headers[i].msg_hdr.msg_iovlen = 1;
    }
    return made;
}

static int receive(int fd, batch *in, int with_peers)
{
    for (int i = 0; i < BATCH; i++) {
        in->vectors[i].iov_len = DATAGRAM_SIZE;
        in->headers[i].msg_hdr.msg_name = with_peers ? &in->peers[i] : NULL;
        in->headers[i].msg_hdr.msg_namelen = with_peers ? sizeof in->peers[i] : 0;
    }
    return recvmmsg(fd, in->headers, BATCH, MSG_DONTWAIT, NULL);
}

static void send_all(int fd, batch *out, int count)
{
    for (int sent = 0; sent < count;) {
        int more = sendmmsg(fd, out->headers + sent, (unsigned)(count - sent), 0);

        if (more > 0)
            sent += more;
        else if (errno == EAGAIN || errno == ENOBUFS)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 10);
        else
            sent++;
    }
}

/* ---- the responder */

static int is_copied(const char *line, size_t size)
{
    static const struct { const char *name; size_t size; } names[] = {
        {"Via:", 4}, {"From:", 5}, {"Call-ID:", 8}, {"CSeq:", 5}, {"To:", 3}
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (size >= names[i].size && (line[0] | 32) == (names[i].name[0] | 32) &&
            !strncasecmp(line, names[i].name, names[i].size))
            return 1;
    return 0;
}

static char *put(char *at, const char *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}
#define PUT(at, literal) put(at, literal, sizeof literal - 1)

/* The 200 to a request, in at most twice DATAGRAM_SIZE octets; its size, 0 for an ACK and for what is no request. */
static size_t answer(const char *octets, size_t size, char *out)
{
    const char *end = octets + size, *line = memchr(octets, '\n', size);
    char *at = PUT(out, "SIP/2.0 200 OK\r\n");

    if (!line || size < 4 || !memcmp(octets, "ACK ", 4) || !memcmp(octets, "SIP/", 4))
        return 0;
    while (++line < end && *line != '\r') {
        const char *stop = memchr(line, '\n', (size_t)(end - line));

        if (!stop)
            return 0;
        if (is_copied(line, (size_t)(stop - line))) {
            int is_to = (line[0] | 32) == 't' && !memmem(line, (size_t)(stop - line), ";tag=", 5);

            at = put(at, line, (size_t)(stop + 1 - line));
            if (is_to)
                at = PUT(at - 2, ";tag=yardstick\r\n");
        }
        line = stop;
    }
    at = PUT(at, "Contact: <sip:yardstick@127.0.0.1>\r\nContent-Length: 0\r\n\r\n");
    return (size_t)(at - out);
}

int64_t yardstick_respond(int fd, int idle_ms)
{
    batch *in = new_batch(), *out = new_batch();
    int64_t answered = 0;

    while (in && out && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, idle_ms) > 0) {
        int count = receive(fd, in, 1), replies = 0;

        if (count <= 0)
            continue;
        for (int i = 0; i < count; i++) {
            size_t size = in->headers[i].msg_len > DATAGRAM_SIZE - 128 ? 0 :
                          answer(in->octets[i], in->headers[i].msg_len, out->octets[replies]);

            if (!size)
                continue;
            out->vectors[replies].iov_len = size;
            out->headers[replies].msg_hdr.msg_name = &in->peers[i];
            out->headers[replies++].msg_hdr.msg_namelen = sizeof in->peers[i];
        }
        send_all(fd, out, replies);
        answered += replies;
    }
    free(in);
    free(out);
    return answered;
}

/* ---- the generator */

enum { WAITS_FOR_ANSWER, WAITS_FOR_BYE };

/* An operation's number stands as 4 hexadecimal digits for its slot and 8 for its sequence, in these places: */
enum { PLACES = 3, SLOT_DIGITS = 4, SEQUENCE_DIGITS = 8 };

typedef struct {
    uint32_t sequence;
    int state;
    int64_t sent_at;
    size_t size, opening_size;
    size_t places[PLACES];       /* where the sequence stands in `opening`: branch, From tag, Call-ID */
    char opening[DATAGRAM_SIZE]; /* the OPTIONS or INVITE */
    char octets[DATAGRAM_SIZE];  /* what was sent last, to be sent again */
} slot;

typedef struct {
    int fd, kind, filled;
    const char *user;
    uint32_t run;                /* tells this run's branches from an earlier one's on the same port */
    char host[64];
    yardstick_counts *counts;
    batch *out;
    slot *slots;
} generator;

static void queue(generator *self, const char *octets, size_t size)
{
    if (self->filled == BATCH) {
        send_all(self->fd, self->out, BATCH);
        self->filled = 0;
    }
    memcpy(self->out->octets[self->filled], octets, size);
    self->out->vectors[self->filled++].iov_len = size;
}

static const char sdp[] = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                          "m=audio 4000 RTP/AVP 0 8\r\na=sendrecv\r\n";

static size_t format(const generator *self, char *out, int number, const char *method, int cseq, const char *to,
                     const char *body)
{
    const slot *own = &self->slots[number];

    return (size_t)snprintf(out, DATAGRAM_SIZE,
        "%s sip:%s@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%04x%08x%08x%d;rport\r\nMax-Forwards: 70\r\n"
        "From: <sip:bench@%s>;tag=%04x%08x\r\n%s\r\nCall-ID: %04x%08x%08x@bench\r\nCSeq: %d %s\r\n"
        "Contact: <sip:bench@%s>\r\n%sContent-Length: %zu\r\n\r\n%s",
        method, self->user, self->host, self->host, (unsigned)number, own->sequence, self->run, cseq,
        self->host, (unsigned)number, own->sequence, to, (unsigned)number, own->sequence, self->run, cseq, method,
        self->host, *body ? "Content-Type: application/sdp\r\n" : "", strlen(body), body);
}

static void put_digits(char *at, uint32_t number)
{
    for (int i = SEQUENCE_DIGITS - 1; i >= 0; i--, number >>= 4)
        at[i] = "0123456789abcdef"[number & 15];
}

static int take_digits(const char *at, int count, uint32_t *number)
{
    *number = 0;
    for (int i = 0; i < count; i++) {
        int digit = at[i] >= '0' && at[i] <= '9' ? at[i] - '0' : at[i] >= 'a' && at[i] <= 'f' ? at[i] - 'a' + 10 : -1;

        if (digit < 0)
            return -1;
        *number = *number << 4 | (uint32_t)digit;
    }
    return 0;
}

/* Write the request that starts an operation once; afterwards only its sequence changes. */
static void prepare(generator *self, int number)
{
    static const char *const before[PLACES] = {"branch=z9hG4bK", "tag=", "Call-ID: "};
    slot *own = &self->slots[number];
    char to[TO_SIZE];

    snprintf(to, sizeof to, "To: <sip:%s@%s>", self->user, self->host);
    own->opening_size = self->kind == YARDSTICK_CALL ? format(self, own->opening, number, "INVITE", 1, to, sdp)
                                                     : format(self, own->opening, number, "OPTIONS", 1, to, "");
    for (int i = 0; i < PLACES; i++) {
        const char *found = strstr(own->opening, before[i]);

        own->places[i] = (size_t)(found - own->opening) + strlen(before[i]) + SLOT_DIGITS;
    }
}

static void start(generator *self, int number, int64_t now)
{
    slot *own = &self->slots[number];

    own->sequence++;
    own->state = WAITS_FOR_ANSWER;
    own->sent_at = now;
    own->size = own->opening_size;
    for (int i = 0; i < PLACES; i++)
        put_digits(own->opening + own->places[i], own->sequence);
    memcpy(own->octets, own->opening, own->size);
    queue(self, own->opening, own->size);
}

/* ACK and BYE of a call that was answered; `response` is NUL-terminated. */
static void end_call(generator *self, int number, const char *response, int64_t now)
{
    slot *own = &self->slots[number];
    const char *from = strcasestr(response, "\r\nTo:"), *stop = from ? strstr(from + 2, "\r\n") : NULL;
    char to[TO_SIZE], ack[DATAGRAM_SIZE];

    if (!stop || stop - from - 2 >= TO_SIZE)
        return;
    memcpy(to, from + 2, (size_t)(stop - from - 2));
    to[stop - from - 2] = 0;
    queue(self, ack, format(self, ack, number, "ACK", 1, to, ""));
    own->state = WAITS_FOR_BYE;
    own->sent_at = now;
    own->size = format(self, own->octets, number, "BYE", 2, to, "");
    queue(self, own->octets, own->size);
}

static void take(generator *self, const char *response, int window, int64_t now)
{
    const char *branch = strstr(response, "branch=z9hG4bK");
    uint32_t number, sequence, run, cseq;

    if (!branch || strncmp(response, "SIP/2.0 ", 8) || response[8] == '1')
        return;
    branch += 14;
    if (take_digits(branch, 4, &number) || take_digits(branch + 4, 8, &sequence) || take_digits(branch + 12, 8, &run) ||
        take_digits(branch + 20, 1, &cseq))
        return;
    if (run != self->run || number >= (uint32_t)window || sequence != self->slots[number].sequence ||
        (cseq == 2) != (self->slots[number].state == WAITS_FOR_BYE))
        return;
    if (response[8] != '2') {
        self->counts->refused++;
        start(self, (int)number, now);
    } else if (self->kind == YARDSTICK_CALL && cseq == 1) {
        end_call(self, (int)number, response, now);
    } else {
        self->counts->operations++;
        start(self, (int)number, now);
    }
}

static void retry(generator *self, int window, int64_t now)
{
    for (int i = 0; i < window; i++) {
        slot *own = &self->slots[i];

        if (now - own->sent_at < RETRY_US)
            continue;
        own->sent_at = now;
        self->counts->retransmissions++;
        queue(self, own->octets, own->size);
    }
}

static int run(generator *self, batch *in, int window, int64_t duration_us)
{
    int64_t began = now_us(), now = began, retried = began, waited;

    for (int i = 0; i < window; i++) {
        prepare(self, i);
        start(self, i, now);
    }
    while (now - began < duration_us) {
        int count;

        send_all(self->fd, self->out, self->filled);
        self->filled = 0;
        count = receive(self->fd, in, 0);
        if (count <= 0) {
            waited = now_us();
            poll(&(struct pollfd){.fd = self->fd, .events = POLLIN}, 1, 20);
            now = now_us();
            self->counts->idle_us += now - waited;
        } else {
            now = now_us();
        }
        for (int i = 0; i < count; i++) {
            unsigned size = in->headers[i].msg_len;

            in->octets[i][size < DATAGRAM_SIZE ? size : DATAGRAM_SIZE - 1] = 0;
            take(self, in->octets[i], window, now);
        }
        if (now - retried > RETRY_US / 10) {
            retry(self, window, now);
            retried = now;
        }
    }
    self->counts->elapsed_us = now - began;
    return 0;
}

int yardstick_generate(int fd, int kind, const char *user, int window, int64_t duration_us, yardstick_counts *counts)
{
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    generator self = {.fd = fd, .kind = kind, .user = user, .counts = counts};
    batch *in = new_batch();
    int result = -1;

    memset(counts, 0, sizeof *counts);
    if (window < 1 || window > WINDOW_LIMIT || strlen(user) > 64) {
        errno = EINVAL;
    } else if (!getsockname(fd, (struct sockaddr *)&own, &size)) {
        self.run = (uint32_t)now_us();
        snprintf(self.host, sizeof self.host, "127.0.0.1:%u", ntohs(own.sin_port));
        self.out = new_batch();
        self.slots = calloc((size_t)window, sizeof *self.slots);
        if (in && self.out && self.slots)
            result = run(&self, in, window, duration_us);
        free(self.out);
        free(self.slots);
    }
    free(in);
    return result;
}

/* ---- the split */

int yardstick_split(const char *octets, size_t size)
{
    const char *at = octets, *end = octets + size;
    int lines = 0;

    while (at < end && *at != '\r') {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        if (!stop)
            break;
        lines += memchr(at, ':', (size_t)(stop - at)) != NULL;
        at = stop + 1;
    }
    return lines;
}
