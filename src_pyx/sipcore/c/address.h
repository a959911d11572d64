/* address.h - IP addresses with a port, as the system calls want them.
 *
 * Knows numeric text and what may be a destination; knows no names, sockets or SIP. */
#ifndef SIPCORE_ADDRESS_H
#define SIPCORE_ADDRESS_H

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef union {
    struct sockaddr any;       /* AF_UNSPEC: no address */
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} host_address;

#define ADDRESS_TEXT_SIZE (INET6_ADDRSTRLEN + 16)     /* with "%" and a scope */

static const unsigned char address_v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static inline socklen_t address_size(const host_address *address)
{
    return address->any.sa_family == AF_INET ? sizeof address->v4
         : address->any.sa_family == AF_INET6 ? sizeof address->v6 : 0;
}

static inline void address_clear(host_address *address) { address->any.sa_family = AF_UNSPEC; }

static inline uint32_t address_scope(const host_address *address)
{
    return address->any.sa_family == AF_INET6 ? address->v6.sin6_scope_id : 0;
}

static inline void address_set_v4(host_address *address, uint32_t host, uint16_t port)
{
    memset(address, 0, sizeof address->v4);
    address->v4.sin_family = AF_INET;
    address->v4.sin_addr.s_addr = htonl(host);
    address->v4.sin_port = htons(port);
}

/* Numeric text, an IPv6 scope after "%", no brackets; 0, or -1: not an address. */
static inline int address_parse(host_address *address, const char *text, int port)
{
    char host[ADDRESS_TEXT_SIZE];
    const char *scope = strchr(text, '%');
    size_t size = scope ? (size_t)(scope - text) : strlen(text);
    memset(address, 0, sizeof *address);
    if (port < 0 || port > 65535 || size >= sizeof host) return -1;
    memcpy(host, text, size);
    host[size] = 0;
    if (!scope && inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) != 1) return -1;
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons((uint16_t)port);
    if (!scope) return 0;
    address->v6.sin6_scope_id = if_nametoindex(scope + 1);
    if (!address->v6.sin6_scope_id) address->v6.sin6_scope_id = (uint32_t)strtoul(scope + 1, NULL, 10);
    return address->v6.sin6_scope_id ? 0 : -1;
}

static inline int address_port(const host_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

static inline int address_is_mapped(const host_address *address)
{
    return address->any.sa_family == AF_INET6 && !memcmp(&address->v6.sin6_addr, address_v4_prefix, 12);
}

static inline int address_is_v4(const host_address *address)
{
    return address->any.sa_family == AF_INET || address_is_mapped(address);
}

/* The IPv4 address of one for which address_is_v4 holds, in host order. */
static inline uint32_t address_v4(const host_address *address)
{
    uint32_t host;
    if (address->any.sa_family == AF_INET) return ntohl(address->v4.sin_addr.s_addr);
    memcpy(&host, (const char *)&address->v6.sin6_addr + 12, 4);
    return ntohl(host);
}

/* 16 octets, IPv4 as ::ffff:a.b.c.d; an absent address is all zero. */
static inline void address_octets(const host_address *address, unsigned char *octets)
{
    memset(octets, 0, 16);
    if (address->any.sa_family == AF_INET6) {
        memcpy(octets, &address->v6.sin6_addr, 16);
    } else if (address->any.sa_family == AF_INET) {
        memcpy(octets, address_v4_prefix, 12);
        memcpy(octets + 12, &address->v4.sin_addr, 4);
    }
}

/* The other way; a mapped IPv4 address becomes an AF_INET one. */
static inline void address_from_octets(host_address *address, const unsigned char *octets, uint32_t scope, uint16_t port)
{
    memset(address, 0, sizeof *address);
    if (!memcmp(octets, address_v4_prefix, 12)) {
        address->v4.sin_family = AF_INET;
        memcpy(&address->v4.sin_addr, octets + 12, 4);
        address->v4.sin_port = htons(port);
    } else {
        address->v6.sin6_family = AF_INET6;
        memcpy(&address->v6.sin6_addr, octets, 16);
        address->v6.sin6_scope_id = scope;
        address->v6.sin6_port = htons(port);
    }
}

/* An IPv4 address as a dual-stack socket wants it. */
static inline void address_map(host_address *address)
{
    unsigned char octets[16];
    int port = address_port(address);
    if (address->any.sa_family != AF_INET) return;
    address_octets(address, octets);
    memset(address, 0, sizeof *address);
    address->v6.sin6_family = AF_INET6;
    memcpy(&address->v6.sin6_addr, octets, 16);
    address->v6.sin6_port = htons((uint16_t)port);
}

/* Numeric text of the host into `text` (ADDRESS_TEXT_SIZE octets); mapped IPv4 as IPv4. */
static inline void address_format(const host_address *address, char *text)
{
    *text = 0;
    if (address_is_v4(address)) {
        uint32_t host = address_v4(address);
        snprintf(text, ADDRESS_TEXT_SIZE, "%u.%u.%u.%u", host >> 24, host >> 16 & 255, host >> 8 & 255, host & 255);
    } else if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, text, INET6_ADDRSTRLEN);
        if (address->v6.sin6_scope_id)
            snprintf(text + strlen(text), 16, "%%%u", (unsigned)address->v6.sin6_scope_id);
    }
}

static inline int address_equal(const host_address *a, const host_address *b)
{
    if (a->any.sa_family != b->any.sa_family) return 0;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr && a->v4.sin_port == b->v4.sin_port;
    if (a->any.sa_family != AF_INET6) return 1;
    return !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) && a->v6.sin6_port == b->v6.sin6_port
        && a->v6.sin6_scope_id == b->v6.sin6_scope_id;
}

/* 0.0.0.0 or :: */
static inline int address_is_wildcard(const host_address *address)
{
    unsigned char octets[16];
    static const unsigned char zero[16];
    if (address_is_v4(address)) return address_v4(address) == 0;
    address_octets(address, octets);
    return !memcmp(octets, zero, 16);
}

/* Whether one host can be meant: not 0.0.0.0/8, multicast, 240/4, broadcast, ::, nor port 0. */
static inline int address_is_unicast(const host_address *address)
{
    if (!address_port(address)) return 0;
    if (address_is_v4(address)) {
        uint32_t host = address_v4(address);
        return host >> 24 != 0 && host >> 28 < 14;
    }
    if (address->any.sa_family != AF_INET6) return 0;
    return address->v6.sin6_addr.s6_addr[0] != 0xff && !address_is_wildcard(address);
}

#endif
