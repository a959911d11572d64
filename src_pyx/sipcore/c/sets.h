/* sets.h - sets of octets as rows for a byte shuffle: bit u of row[l] says that octet 16 * u + l is in it.  Part of scan.c.
 *
 * Each is what chars.h calls a class, less the octets of more than 127; the last three have no class. */
#ifndef SIPCORE_SETS_H
#define SIPCORE_SETS_H

#include <stdint.h>

enum octet_set {
    SET_TOKEN,
    SET_HOST,
    SET_VALUE,
    SET_PLAIN,
    SET_VISIBLE,
    SET_QUOTED,                  /* in a quoted string, and neither its end nor a backslash */
    SET_WORDS                    /* tokens and spaces: a display name without quotes */
};

#define IN_RANGE(c_, first_, last_) ((c_) >= (first_) && (c_) <= (last_))
#define IN_LETTERS(c_) (IN_RANGE(c_, 'A', 'Z') || IN_RANGE(c_, 'a', 'z') || IN_RANGE(c_, '0', '9'))
#define IN_HOST(c_) (IN_LETTERS(c_) || (c_) == '-' || (c_) == '.' || (c_) == '_')
#define IN_SIGNS(c_) \
    ((c_) == '!' || (c_) == '*' || (c_) == '+' || (c_) == '`' || (c_) == '\'' || (c_) == '~')
#define IN_TOKEN(c_) (IN_HOST(c_) || IN_SIGNS(c_) || (c_) == '%')
#define IN_VALUE(c_) (IN_TOKEN(c_) || (c_) == '[' || (c_) == ']' || (c_) == ':')
#define IN_PLAIN(c_) \
    (IN_HOST(c_) || IN_SIGNS(c_) || (c_) == '$' || (c_) == '&' || (c_) == '(' || (c_) == ')' || (c_) == '/' || \
     (c_) == '=')
#define IN_VISIBLE(c_) IN_RANGE(c_, 0x21, 0x7e)
#define IN_QUOTED(c_) (IN_RANGE(c_, 0x20, 0x7e) && (c_) != '"' && (c_) != '\\')
#define IN_WORDS(c_) (IN_TOKEN(c_) || (c_) == ' ')

#define ROW(in_, low_)                                                                                            \
    (uint8_t)(in_(0x00 + (low_)) << 0 | in_(0x10 + (low_)) << 1 | in_(0x20 + (low_)) << 2 | in_(0x30 + (low_)) << 3 | \
              in_(0x40 + (low_)) << 4 | in_(0x50 + (low_)) << 5 | in_(0x60 + (low_)) << 6 | in_(0x70 + (low_)) << 7)
#define ROWS(in_)                                                                                                   \
    {ROW(in_, 0), ROW(in_, 1), ROW(in_, 2), ROW(in_, 3), ROW(in_, 4), ROW(in_, 5), ROW(in_, 6), ROW(in_, 7), ROW(in_, 8), \
     ROW(in_, 9), ROW(in_, 10), ROW(in_, 11), ROW(in_, 12), ROW(in_, 13), ROW(in_, 14), ROW(in_, 15)}

static const uint8_t set_rows[][16] = {
    [SET_TOKEN] = ROWS(IN_TOKEN), [SET_HOST] = ROWS(IN_HOST), [SET_VALUE] = ROWS(IN_VALUE),
    [SET_PLAIN] = ROWS(IN_PLAIN), [SET_VISIBLE] = ROWS(IN_VISIBLE), [SET_QUOTED] = ROWS(IN_QUOTED),
    [SET_WORDS] = ROWS(IN_WORDS)
};

/* The bit of each upper half. */
static const uint8_t set_halves[16] = {1, 2, 4, 8, 16, 32, 64, 128};

#undef ROW
#undef ROWS

#endif
