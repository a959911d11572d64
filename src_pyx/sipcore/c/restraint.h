/* restraint.h - the parameters of RFC 7339 in a Via: who offers to send less, and a Via without them.  Part of scan.c. */
#ifndef SIPCORE_RESTRAINT_H
#define SIPCORE_RESTRAINT_H

#include <string.h>

#include "scan.h"

static inline char *put(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

/* Where the parameter that begins behind a ';' at p ends: the next ';' outside of quotes, or end. */
static const char *via_parameter_end(const char *p, const char *end)
{
    int is_quoted = 0;

    for (; p < end && (is_quoted || *p != ';'); p++) {
        if (*p == '\\' && is_quoted && p + 1 < end)
            p++;
        else if (*p == '"')
            is_quoted = !is_quoted;
    }
    return p;
}

/* The size of the name of the parameter at p if it is one of RFC 7339; else 0. */
static size_t restraint_name(const char *p, const char *end)
{
    static const char *const names[] = {"oc-validity", "oc-algo", "oc-seq", "oc"};
    size_t i, k, size;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        size = strlen(names[i]);
        if ((size_t)(end - p) < size || (end - p > (ptrdiff_t)size && p[size] != '=' && p[size] != ' '))
            continue;
        for (k = 0; k < size && (p[k] | 0x20) == (names[i][k] | 0x20); k++)
            ;
        if (k == size)
            return size;
    }
    return 0;
}

/* Whether the list "loss,rate" at p names the algorithm that every client has (RFC 7339 section 5.1). */
static int has_loss(const char *p, const char *end)
{
    static const char name[4] = {'l', 'o', 's', 's'};

    for (; end - p >= 4; p++)
        if (!memcmp(p, name, 4) && (end - p == 4 || p[4] == '"' || p[4] == ',' || p[4] == ' ') &&
            (p[-1] == '"' || p[-1] == ',' || p[-1] == ' ' || p[-1] == '='))
            return 1;
    return 0;
}

/* Whether something that looks like one of these parameters is there at all. */
static int has_restraint_parameter(const char *p, const char *end)
{
    while ((p = memchr(p, ';', (size_t)(end - p))) && end - ++p >= 2)
        if ((p[0] | 0x20) == 'o' && (p[1] | 0x20) == 'c')
            return 1;
    return 0;
}

int sip_offers_restraint(const char *octets, sip_span via)
{
    const char *p = octets + via.at, *end = p + via.size, *stop;
    int offers = 0, knows_loss = 0;
    size_t name;

    if (!has_restraint_parameter(p, end))
        return 0;
    for (p = via_parameter_end(p, end); p < end; p = stop) {
        stop = via_parameter_end(++p, end);
        name = restraint_name(p, stop);
        offers |= name == 2 && stop - p == 2;
        knows_loss |= name == 7 && has_loss(p + name + 1, stop);
    }
    return offers && knows_loss;
}

/* The octets [at..stop) of a Via line, without the parameters of RFC 7339 if so wished; `at` is in no quoted string. */
static char *put_via_part(char *out, const char *octets, size_t at, size_t stop, int is_told)
{
    const char *p = octets + at, *end = octets + stop, *next;

    if (!is_told)
        return put(out, octets + at, stop - at);
    for (; p < end; p = next) {
        next = via_parameter_end(*p == ';' ? p + 1 : p, end);
        if (*p != ';' || !restraint_name(p + 1, next))
            out = put(out, p, (size_t)(next - p));
    }
    return out;
}

#endif
