/* engine.h - a message scanned ahead of its turn, and small text that the engine writes. */
#ifndef SIPCORE_ENGINE_H
#define SIPCORE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "scan.h"
#include "transactions.h"

typedef struct {
    sip_index index;
    sip_line *lines;
    size_t lines_room;
    int result;                  /* of sip_scan */
    request_keys keys;
} scanned_message;

/* Whether a datagram is nothing but line ends and NULs (RFC 5626 section 3.5, FAULTS 17). */
static inline int is_keep_alive(const char *octets, size_t size)
{
    size_t at = 0;
    while (at < size && (octets[at] == '\r' || octets[at] == '\n' || octets[at] == 0)) at++;
    return at == size;
}

/* 16 lower-case digits, no end mark. */
static inline void put_hex(char *out, uint64_t word)
{
    static const char digits[16] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, word >>= 4)
        out[i] = digits[word & 15];
}

/* Dotted decimal, no end mark; the octets written. */
static inline size_t put_v4(char *out, uint32_t host)
{
    char *start = out;
    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned octet = host >> shift & 255;
        if (octet >= 100) *out++ = (char)('0' + octet / 100);
        if (octet >= 10) *out++ = (char)('0' + octet / 10 % 10);
        *out++ = (char)('0' + octet % 10);
        if (shift) *out++ = '.';
    }
    return (size_t)(out - start);
}

#endif
