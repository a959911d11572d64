"""Write names.h, the C side of sipcore/constants.py.

    python src_pyx/sipcore/c/make_names.py > src_pyx/sipcore/c/names.h

A header's number is found by a perfect hash of the first, middle and last octet (lower case) and the size of its name;
the multipliers are searched for here, so the table never has two names in one slot.  Run it again after an edit
of the constants; a test compares its output with the file.
"""

import random
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from sipcore import constants

SLOTS = 1024
NAME_ROOM = 32
WORD_BITS = 10
SHORT = 15


def hash_name(name: bytes, multipliers: tuple[int, int, int, int]) -> int:
    """The slot of a lower-case name; the C side is `sip_header_slot` in names.h."""
    first, middle, last, size = multipliers
    return (name[0] * first + name[len(name) // 2] * middle + name[-1] * last + len(name) * size) >> 4 & (SLOTS - 1)


def spellings() -> list[tuple[bytes, int]]:
    """Every lower-case spelling with the number of its header."""
    return [
        (spelling.lower().encode(), number)
        for number, header in enumerate(constants.HEADERS, 1)
        for spelling in (header.name, header.compact)
        if spelling
    ]


def find_multipliers(names: list[bytes]) -> tuple[int, int, int, int]:
    """Four multipliers that give each name a slot of its own; always the same ones for the same names."""
    draw = random.Random(3261)  # a fixed seed: the output has to be repeatable
    while True:
        first, middle, last, size = (draw.randrange(1, 65536) for _ in range(4))
        multipliers = (first, middle, last, size)
        if len({hash_name(name, multipliers) for name in names}) == len(names):
            return multipliers


def words(name: bytes) -> tuple[int, int]:
    """The two little-endian words of a name of at most 15 octets, as lines_fast.h reads them."""
    padded = name.ljust(16, b"\0")
    return int.from_bytes(padded[:8], "little"), int.from_bytes(padded[8:], "little")


def hash_words(name: bytes, multipliers: tuple[int, int]) -> int:
    """The slot of a short lower-case name; the C side is `sip_word_slot` in names.h."""
    low, high = words(name)
    return ((low * multipliers[0] ^ high * multipliers[1]) & (2**64 - 1)) >> (64 - WORD_BITS)


def find_word_multipliers(names: list[bytes]) -> tuple[int, int]:
    """Two odd multipliers that give each short name a slot of its own; always the same ones for the same names."""
    draw = random.Random(3261)
    while True:
        multipliers = (draw.getrandbits(64) | 1, draw.getrandbits(64) | 1)
        if len({hash_words(name, multipliers) for name in names}) == len(names):
            return multipliers


def identifier(name: str) -> str:
    return name.upper().replace("-", "_")


def filled(words: list[str]) -> str:
    """Words with a comma behind each, in lines of at most 120 characters."""
    return textwrap.fill(", ".join(words) + ",", 120, initial_indent="    ", subsequent_indent="    ")


def octets(values: list[int]) -> str:
    return filled([str(value) for value in values])


def enum(kind: str, prefix: str, names: list[str]) -> str:
    members = [f"{prefix}{member}" for member in ("OTHER", *map(identifier, names), "COUNT")]
    return f"enum {kind} {{\n{filled(members)[:-1]}\n}};\n"


def row(text: bytes) -> str:
    return f"    {{{', '.join(map(str, text))}}},"


def c_strings(prefix: str, names: list[str]) -> str:
    return ",\n".join(f'    {{"{name}", {len(name)}}}' for name in ["", *names])


def table_of_word_slots(pairs: list[tuple[bytes, int]], multipliers: tuple[int, int]) -> list[int]:
    """Slot -> number of a short spelling; 0 for a free slot."""
    slots = [0] * 2**WORD_BITS
    for spelling, (name, _) in enumerate(pairs, 1):
        if len(name) <= SHORT:
            slots[hash_words(name, multipliers)] = spelling
    return slots


def table_of_slots(pairs: list[tuple[bytes, int]], multipliers: tuple[int, int, int, int]) -> list[int]:
    """Slot -> number of a spelling; 0 for a free slot."""
    slots = [0] * SLOTS
    for spelling, (name, _) in enumerate(pairs, 1):
        slots[hash_name(name, multipliers)] = spelling
    return slots


def render() -> str:
    pairs = spellings()
    multipliers = find_multipliers([name for name, _ in pairs])
    first, middle, last, size = multipliers
    low, high = find_word_multipliers([name for name, _ in pairs if len(name) <= SHORT])
    names = [header.name for header in constants.HEADERS]
    compact = [ord(header.compact) if header.compact else 0 for header in constants.HEADERS]
    lists = [int(header.is_list) for header in constants.HEADERS]
    phrases = "\n".join(f'    {{{code}, {len(text)}, "{text}"}},' for code, text in constants.REASON_PHRASES.items())
    assert max(map(len, names)) <= NAME_ROOM and len(names) < 127 and len(pairs) < 255
    return f"""\
/* names.h - numbers of header names, methods and transports.
 *
 * Written by make_names.py from sipcore/constants.py; edit that and run it again.
 */
#ifndef SIPCORE_NAMES_H
#define SIPCORE_NAMES_H

#include <stddef.h>
#include <stdint.h>

{enum("sip_header", "SIP_", names)}
{enum("sip_method", "SIP_METHOD_", list(constants.METHODS))}
{enum("sip_transport", "SIP_TRANSPORT_", list(constants.TRANSPORTS))}
#define SIP_NAME_ROOM {NAME_ROOM}u

typedef struct {{
    const char *text;
    size_t size;
}} sip_name;

typedef struct {{
    uint16_t status_code;
    uint16_t size;
    const char *text;
}} sip_phrase;

#ifdef SIP_NAMES_TABLES

/* Usual spelling of each header, method and transport, by number. */
static const sip_name sip_header_spelling[SIP_COUNT] = {{
{c_strings("", names)}
}};

static const sip_name sip_method_spelling[SIP_METHOD_COUNT] = {{
{c_strings("", list(constants.METHODS))}
}};

static const sip_name sip_transport_spelling[SIP_TRANSPORT_COUNT] = {{
{c_strings("", list(constants.TRANSPORTS))}
}};

/* Every spelling, compact forms too, in lower case and padded with NUL, by its own number; 0 is none. */
static const char sip_spelling_text[][SIP_NAME_ROOM] = {{
    {{0}},
{chr(10).join(row(name) for name, _ in pairs)}
}};

static const uint8_t sip_spelling_size[] = {{
{octets([0, *(len(name) for name, _ in pairs)])}
}};

static const uint8_t sip_spelling_header[] = {{
{octets([0, *(number for _, number in pairs)])}
}};

static const char sip_header_compact[SIP_COUNT] = {{
{octets([0, *compact])}
}};

static const uint8_t sip_header_is_list[SIP_COUNT] = {{
{octets([0, *lists])}
}};

static const uint8_t sip_header_slots[{SLOTS}] = {{
{octets(table_of_slots(pairs, multipliers))}
}};

/* Slot of a name of `size` octets, at least one; the three octets in lower case. */
static inline unsigned sip_header_slot(unsigned first, unsigned middle, unsigned last, unsigned size)
{{
    return ((first * {first}u + middle * {middle}u + last * {last}u + size * {size}u) >> 4) & {SLOTS - 1}u;
}}

/* The same for spellings of at most {SHORT} octets by two words of them, little-endian and padded with NUL. */
static const uint8_t sip_word_slots[{2**WORD_BITS}] = {{
{octets(table_of_word_slots(pairs, (low, high)))}
}};

static inline unsigned sip_word_slot(uint64_t low, uint64_t high)
{{
    return (unsigned)((low * {low:#x}ull ^ high * {high:#x}ull) >> {64 - WORD_BITS});
}}

static const sip_phrase sip_reason_phrases[] = {{
{phrases}
    {{0, 0, ""}}
}};

#endif
#endif
"""


if __name__ == "__main__":
    sys.stdout.write(render())
