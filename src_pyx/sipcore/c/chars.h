/* chars.h - character classes as bits of one table (RFC 3261 section 25.1). */
#ifndef SIPCORE_CHARS_H
#define SIPCORE_CHARS_H

#include <stdint.h>
#include <string.h>

enum char_class {
    CHAR_TOKEN = 1,              /* token */
    CHAR_DIGIT = 2,
    CHAR_ALPHA = 4,
    CHAR_HOST = 8,               /* hostname, and "_", which the wild uses */
    CHAR_VALUE = 16,             /* unquoted parameter value: token, host, IPv6 reference */
    CHAR_URI = 32,               /* anything that may stand in a URI; octets of UTF-8 included */
    CHAR_DISPLAY = 64,           /* unquoted display name: anything that does not start another part */
    CHAR_WORD = 128,             /* Call-ID: anything visible */
    CHAR_PLAIN = 256             /* of a URI, and of no meaning wherever it stands */
};

static inline int is_white(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

#define LETTER (CHAR_PLAIN | CHAR_TOKEN | CHAR_ALPHA | CHAR_HOST | CHAR_VALUE | CHAR_URI | CHAR_DISPLAY | CHAR_WORD)
#define NUMBER (CHAR_PLAIN | CHAR_TOKEN | CHAR_DIGIT | CHAR_HOST | CHAR_VALUE | CHAR_URI | CHAR_DISPLAY | CHAR_WORD)
#define SIGN (CHAR_PLAIN | CHAR_TOKEN | CHAR_VALUE | CHAR_URI | CHAR_DISPLAY | CHAR_WORD)
#define PERCENT (CHAR_TOKEN | CHAR_VALUE | CHAR_URI | CHAR_DISPLAY | CHAR_WORD)
#define SIGN_OF_HOST (SIGN | CHAR_HOST)
#define BRACKET (CHAR_VALUE | CHAR_URI | CHAR_DISPLAY | CHAR_WORD)
#define OTHER_OF_URI (CHAR_URI | CHAR_DISPLAY | CHAR_WORD)
#define PLAIN_OF_URI (CHAR_PLAIN | OTHER_OF_URI)
#define SEPARATOR (CHAR_URI | CHAR_WORD)
#define HIGH (CHAR_VALUE | CHAR_URI | CHAR_DISPLAY | CHAR_WORD)

static const uint16_t char_classes[256] = {
    ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER, ['0' ... '9'] = NUMBER,
    ['-'] = SIGN_OF_HOST, ['.'] = SIGN_OF_HOST, ['_'] = SIGN_OF_HOST,
    ['!'] = SIGN, ['%'] = PERCENT, ['*'] = SIGN, ['+'] = SIGN, ['`'] = SIGN, ['\''] = SIGN, ['~'] = SIGN,
    ['['] = BRACKET, [']'] = BRACKET, [':'] = BRACKET,
    ['$'] = PLAIN_OF_URI, ['&'] = PLAIN_OF_URI, ['('] = PLAIN_OF_URI, [')'] = PLAIN_OF_URI, ['/'] = PLAIN_OF_URI,
    ['='] = PLAIN_OF_URI, ['?'] = OTHER_OF_URI, ['@'] = OTHER_OF_URI, ['#'] = OTHER_OF_URI,
    [','] = SEPARATOR, [';'] = SEPARATOR,
    ['\\'] = CHAR_DISPLAY | CHAR_WORD, ['^'] = CHAR_DISPLAY | CHAR_WORD, ['{'] = CHAR_DISPLAY | CHAR_WORD,
    ['|'] = CHAR_DISPLAY | CHAR_WORD, ['}'] = CHAR_DISPLAY | CHAR_WORD,
    ['"'] = CHAR_WORD, ['<'] = CHAR_WORD, ['>'] = CHAR_WORD,
    [' '] = CHAR_DISPLAY, ['\t'] = CHAR_DISPLAY, ['\r'] = CHAR_DISPLAY, ['\n'] = CHAR_DISPLAY,
    [0x80 ... 0xff] = HIGH
};

#undef LETTER
#undef NUMBER
#undef SIGN
#undef PERCENT
#undef SIGN_OF_HOST
#undef BRACKET
#undef BRACKET
#undef OTHER_OF_URI
#undef PLAIN_OF_URI
#undef SEPARATOR
#undef HIGH

static inline int is_char(unsigned char c, int classes)
{
    return char_classes[c] & classes;
}

static inline const char *skip_class(const char *p, const char *end, int classes)
{
    for (; end - p >= 4; p += 4) {
        if (!is_char((unsigned char)p[0], classes))
            return p;
        if (!is_char((unsigned char)p[1], classes))
            return p + 1;
        if (!is_char((unsigned char)p[2], classes))
            return p + 2;
        if (!is_char((unsigned char)p[3], classes))
            return p + 3;
    }
    while (p < end && is_char((unsigned char)*p, classes))
        p++;
    return p;
}

/* The first octet that is a control, a space or DEL: the same as CHAR_WORD, eight octets at a time. */
static inline const char *skip_visible(const char *p, const char *end)
{
    const uint64_t each = 0x0101010101010101ull;
    uint64_t word, del;

    for (; end - p >= 8; p += 8) {
        memcpy(&word, p, 8);
        del = word ^ 0x7f * each;
        if ((((word - 0x21 * each) & ~word) | ((del - each) & ~del)) & 0x80 * each)
            break;
    }
    return skip_class(p, end, CHAR_WORD);
}

static inline const char *skip_white(const char *p, const char *end)
{
    while (p < end && is_white((unsigned char)*p))
        p++;
    return p;
}

static inline const char *trim_end(const char *p, const char *end)
{
    while (end > p && is_white((unsigned char)end[-1]))
        end--;
    return end;
}

static inline char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Whether text is the lower-case `name`, in any case. */
static inline int is_word(const char *text, size_t size, const char *name, size_t name_size)
{
    size_t i;

    if (size != name_size)
        return 0;
    for (i = 0; i < size; i++)
        if (to_lower(text[i]) != name[i])
            return 0;
    return 1;
}

/* Whether p begins with these octets. */
#define BEGINS(p_, end_, literal_) \
    ((size_t)((end_) - (p_)) >= sizeof(literal_) - 1 && !memcmp(p_, literal_, sizeof(literal_) - 1))

/* Whether text is the lower-case literal, in any case; nearly always it is written so. */
#define IS_WORD(text_, size_, literal_)                                                       \
    ((size_) == sizeof(literal_) - 1 && (!memcmp(text_, literal_, sizeof(literal_) - 1) ||    \
                                         is_word(text_, size_, literal_, sizeof(literal_) - 1)))

#endif
