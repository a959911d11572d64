/* connection.h - the rows of the connection table and the handles that name flows.
 *
 * A flow handle is 63 bits, never 0.  A UDP flow over IPv4 names itself: kind, local
 * index, address, port; nothing is stored for it, so spoofed sources cost no memory.
 * Every other flow has a row: kind, serial, row index. */
#ifndef SIPCORE_CONNECTION_H
#define SIPCORE_CONNECTION_H

#include "address.h"
#include "pool.h"
#include "siphash.h"
#include "table.h"

/* kind at bit 61: */
#define FLOW_DATAGRAM_V4 1
#define FLOW_ROW 2
#define FLOW_KIND_AT 61
/* FLOW_DATAGRAM_V4: local index (13 bits), address (32), port (16) */
#define FLOW_LOCAL_AT 48
#define FLOW_LOCALS 8192
/* FLOW_ROW: serial (37 bits), row index (24) */
#define FLOW_SERIAL_AT 24
#define FLOW_SERIAL_MAX (((uint64_t)1 << 37) - 1)
#define FLOW_INDEX_MASK ((1 << FLOW_SERIAL_AT) - 1)

#define CONNECTION_BY_PORT 0   /* links[]: by the remote port */
#define CONNECTION_BY_ALIAS 1  /* by the port an alias names (RFC 5923) */

typedef struct {
    int32_t older, newer;      /* idle order, a ring */
    uint64_t serial;           /* 0: not live */
    sip_link links[2];
    unsigned char remote[16], local[16];
    uint32_t remote_scope;
    uint16_t remote_port, local_port;
    uint16_t alias_port;       /* 0: no alias */
    uint8_t transport;
    uint8_t is_datagram;
    int32_t owner;             /* index of the local address in its table */
    int32_t within;            /* looked up within a user agent, a datagram flow within its local index */
    int32_t peer;              /* row that counts the connections of the remote address, -1 */
    uint32_t holds;
    uint64_t identity;         /* hash of the name that the far side proved, 0: none */
    int64_t used_us;
} connection_row;

typedef struct {
    int32_t count;             /* connections of the address */
    int32_t unused;
    sip_link link;
    unsigned char prefix[16];  /* an IPv4 address, or the first 64 bits of an IPv6 one */
} peer_row;

#define CONNECTION_LINK_AT offsetof(connection_row, links)
#define PEER_LINK_AT offsetof(peer_row, link)

static inline int64_t flow_of_v4(int local, uint32_t host, uint16_t port)
{
    return (int64_t)((uint64_t)FLOW_DATAGRAM_V4 << FLOW_KIND_AT | (uint64_t)local << FLOW_LOCAL_AT
                     | (uint64_t)host << 16 | port);
}

static inline int64_t flow_of_row(uint64_t serial, int32_t index)
{
    return (int64_t)((uint64_t)FLOW_ROW << FLOW_KIND_AT | serial << FLOW_SERIAL_AT | (uint32_t)index);
}

static inline int flow_kind(int64_t flow) { return (int)(flow >> FLOW_KIND_AT); }
static inline int flow_local_index(int64_t flow) { return (int)(flow >> FLOW_LOCAL_AT) & (FLOW_LOCALS - 1); }
static inline uint32_t flow_host(int64_t flow) { return (uint32_t)(flow >> 16); }
static inline uint16_t flow_port(int64_t flow) { return (uint16_t)flow; }

/* What a connection is looked up by. */
typedef struct {
    unsigned char remote[16];
    uint64_t identity;
    int32_t within;
    uint16_t port;
    uint16_t transport;
} connection_key;

static inline uint32_t connection_hash(sip_key key, const connection_key *of)
{
    return (uint32_t)siphash13(key, of, sizeof *of);
}

static inline connection_key connection_key_of(const connection_row *row, uint16_t port)
{
    connection_key key;
    memset(&key, 0, sizeof key);
    memcpy(key.remote, row->remote, 16);
    key.identity = row->identity;
    key.within = row->within;
    key.port = port;
    key.transport = row->transport;
    return key;
}

/* ---- idle order: a ring of live rows; `*oldest` is -1 when it is empty. */

static inline void idle_add(const sip_pool *pool, int32_t *oldest, int32_t index)
{
    connection_row *row = (connection_row *)pool_row(pool, index);
    if (*oldest < 0) {
        *oldest = row->older = row->newer = index;
        return;
    }
    connection_row *first = (connection_row *)pool_row(pool, *oldest);
    row->newer = *oldest;
    row->older = first->older;
    ((connection_row *)pool_row(pool, first->older))->newer = index;
    first->older = index;
}

static inline void idle_remove(const sip_pool *pool, int32_t *oldest, int32_t index)
{
    connection_row *row = (connection_row *)pool_row(pool, index);
    if (row->newer == index) {
        *oldest = -1;
        return;
    }
    if (*oldest == index) *oldest = row->newer;
    ((connection_row *)pool_row(pool, row->older))->newer = row->newer;
    ((connection_row *)pool_row(pool, row->newer))->older = row->older;
}

#endif
