/* names_lookup.h - names to numbers and back.  Part of scan.c. */
#ifndef SIPCORE_NAMES_LOOKUP_H
#define SIPCORE_NAMES_LOOKUP_H

#include <string.h>

#include "chars.h"
#include "scan.h"

int sip_header_id(const char *name, size_t size)
{
    unsigned slot;
    int id;

    if (!size || size > SIP_NAME_ROOM)
        return SIP_OTHER;
    slot = sip_header_slot((unsigned char)name[0] | 0x20u, (unsigned char)name[size / 2] | 0x20u,
                           (unsigned char)name[size - 1] | 0x20u, (unsigned)size);
    id = sip_header_slots[slot];
    if (size == 1)
        return sip_header_compact[id] == (name[0] | 0x20) ? id : SIP_OTHER;
    return is_word(name, size, sip_header_lower[id].text, sip_header_lower[id].size) ? id : SIP_OTHER;
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

int sip_method_id(const char *name, size_t size)
{
    int id;

    for (id = 1; id < SIP_METHOD_COUNT; id++)
        if (size == sip_method_spelling[id].size && !memcmp(name, sip_method_spelling[id].text, size))
            return id;
    return SIP_METHOD_OTHER;
}

const sip_name *sip_method_name(int id)
{
    return &sip_method_spelling[id > 0 && id < SIP_METHOD_COUNT ? id : 0];
}

int sip_transport_id(const char *name, size_t size)
{
    size_t i;
    int id;

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

const sip_phrase *sip_reason_phrase(int status_code)
{
    const sip_phrase *phrase = sip_reason_phrases;

    while (phrase->status_code && phrase->status_code != status_code)
        phrase++;
    return phrase;
}

#endif
