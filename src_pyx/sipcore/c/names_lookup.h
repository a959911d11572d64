/* names_lookup.h - names to numbers and back.  Part of scan.c. */
#ifndef SIPCORE_NAMES_LOOKUP_H
#define SIPCORE_NAMES_LOOKUP_H

#include <string.h>

#include "chars.h"
#include "scan.h"

static inline unsigned spelling_slot(const char *name, size_t size)
{
    return sip_header_slot((unsigned char)name[0] | 0x20u, (unsigned char)name[size / 2] | 0x20u,
                           (unsigned char)name[size - 1] | 0x20u, (unsigned)size);
}

int sip_header_id(const char *name, size_t size)
{
    unsigned spelling;

    if (!size || size > SIP_NAME_ROOM)
        return SIP_OTHER;
    spelling = sip_header_slots[spelling_slot(name, size)];
    if (!is_word(name, size, sip_spelling_text[spelling], sip_spelling_size[spelling]))
        return SIP_OTHER;
    return sip_spelling_header[spelling];
}

const sip_name *sip_header_name(int id)
{
    return &sip_header_spelling[id > 0 && id < SIP_COUNT ? id : 0];
}

char sip_header_compact_form(int id)
{
    return sip_header_compact[id > 0 && id < SIP_COUNT ? id : 0];
}

int sip_header_has_list(int id)
{
    return sip_header_is_list[id > 0 && id < SIP_COUNT ? id : 0];
}

static inline int is_method(int id, const char *name, size_t size)
{
    return size == sip_method_spelling[id].size && !memcmp(name, sip_method_spelling[id].text, size);
}

/* By the first letter, which no more than two methods share. */
int sip_method_id(const char *name, size_t size)
{
    static const uint8_t by_letter['Z' - 'A' + 1][2] = {
        ['A' - 'A'] = {SIP_METHOD_ACK},
        ['B' - 'A'] = {SIP_METHOD_BYE},
        ['C' - 'A'] = {SIP_METHOD_CANCEL},
        ['I' - 'A'] = {SIP_METHOD_INVITE, SIP_METHOD_INFO},
        ['M' - 'A'] = {SIP_METHOD_MESSAGE},
        ['N' - 'A'] = {SIP_METHOD_NOTIFY},
        ['O' - 'A'] = {SIP_METHOD_OPTIONS},
        ['P' - 'A'] = {SIP_METHOD_PRACK, SIP_METHOD_PUBLISH},
        ['R' - 'A'] = {SIP_METHOD_REGISTER, SIP_METHOD_REFER},
        ['S' - 'A'] = {SIP_METHOD_SUBSCRIBE},
        ['U' - 'A'] = {SIP_METHOD_UPDATE}
    };
    const uint8_t *ids;

    if (!size || *name < 'A' || *name > 'Z')
        return SIP_METHOD_OTHER;
    ids = by_letter[*name - 'A'];
    if (is_method(ids[0], name, size))
        return ids[0];
    return is_method(ids[1], name, size) ? ids[1] : SIP_METHOD_OTHER;
}

const sip_name *sip_method_name(int id)
{
    return &sip_method_spelling[id > 0 && id < SIP_METHOD_COUNT ? id : 0];
}

int sip_transport_id(const char *name, size_t size)
{
    size_t i;
    int id;

    if (size == 3 && !memcmp(name, "UDP", 3))
        return SIP_TRANSPORT_UDP;
    for (id = 1; id < SIP_TRANSPORT_COUNT; id++) {
        if (size != sip_transport_spelling[id].size)
            continue;
        for (i = 0; i < size && to_lower(name[i]) == to_lower(sip_transport_spelling[id].text[i]); i++)
            ;
        if (i == size)
            return id;
    }
    return SIP_TRANSPORT_OTHER;
}

/* The last entry is the one of status code 0, without words. */
const sip_phrase *sip_reason_phrase(int status_code)
{
    const size_t none = sizeof sip_reason_phrases / sizeof *sip_reason_phrases - 1;
    size_t low = 0, high = none, middle;

    while (low < high) {
        middle = (low + high) / 2;
        if (sip_reason_phrases[middle].status_code < status_code)
            low = middle + 1;
        else
            high = middle;
    }
    return sip_reason_phrases + (sip_reason_phrases[low].status_code == status_code ? low : none);
}

#endif
