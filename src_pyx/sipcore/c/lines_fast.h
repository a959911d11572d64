/* lines_fast.h - the lines of a head that has no fault, one instruction set.  Part of fast.h, which includes it once for
 * each: SIMD(name) gives the names of its functions and those of simd.h, TARGET is the attribute they need.
 *
 * Anything unusual (a fault, a limit, no end of the head) is left to index_lines, which is slower and says exactly what
 * is wrong. */

/* The header from p on whose last line end is at `end`: the line and its number, or -1 for what index_unusual_line has to
 * look at.  At least 16 octets from p on are readable. */
TARGET ALWAYS_INLINE int SIMD(fast_line)(const char *octets, const char *p, const char *end, sip_line *line)
{
    unsigned size = (unsigned)__builtin_ctz(SIMD(mask_of_16)(p, ':') | 0x10000), id;
    const char *value = p + size + 2;

    if (__builtin_expect(size - 1 >= SHORT_NAME, 0))
        return -1;
    id = SIMD(short_id)(p, size);
    if (__builtin_expect(id == SIP_OTHER, 0) && SIMD(skip)(p, SET_TOKEN) != p + size)
        return -1;
    if (__builtin_expect(value[-1] != ' ' || (unsigned char)*value <= ' ', 0))
        value = skip_white(value - 1, end);
    if (__builtin_expect((unsigned char)end[-1] <= ' ', 0))
        end = trim_end(value, end);
    line->name_at = (uint16_t)(p - octets);
    line->value_at = (uint16_t)(value - octets);
    line->value_size = (uint16_t)(end - value);
    line->name_size = (uint8_t)size;
    line->id = (uint8_t)id;
    return (int)id;
}

/* Positions of the LFs of the head into `ends`, the empty line's last: how many, or 0 if this is no clean head. */
TARGET ALWAYS_INLINE size_t SIMD(fast_ends)(const char *octets, size_t size, uint16_t *ends)
{
    uint64_t cr, lf, blank, cr_before = 0, lf_before = 0;
    size_t at, shift;
    uint16_t *next = ends;

    for (at = 0; at < size; at += 64) {
        if (__builtin_expect(at + 64 <= size, 1)) {
            SIMD(masks_of_64)(octets + at, &cr, &lf);
        } else {
            shift = at + 64 - size;
            SIMD(masks_of_64)(octets + at - shift, &cr, &lf);
            cr >>= shift;
            lf >>= shift;
        }
        /* An LF two octets after an LF ends the head: between them stands the CR that is checked below. */
        blank = lf & (lf << 2 | lf_before >> 62);
        if (blank) {
            lf &= blank ^ (blank - 1);
            cr &= blank ^ (blank - 1);
        }
        if (lf != (cr << 1 | cr_before >> 63) || next > ends + FAST_LINES)
            return 0;
        lf_before = lf;
        cr_before = cr;
        if (lf) {
            *next++ = (uint16_t)(at + (size_t)__builtin_ctzll(lf));
            lf &= lf - 1;
            while (__builtin_expect(lf != 0, 0)) {
                *next++ = (uint16_t)(at + (size_t)__builtin_ctzll(lf));
                lf &= lf - 1;
            }
        }
        if (blank)
            return (size_t)(next - ends);
    }
    return 0;
}

/* Index all lines; as index_lines, but NULL for anything unusual too, and `octets` when there are more lines than room
 * for them, which index->line_count then tells. *start_end: where the start line's CR is. */
TARGET static const char *SIMD(fast_lines)(const char *octets, size_t size, size_t *start_end,
                                           const sip_limits *limits, sip_line *lines, size_t room, sip_index *index)
{
    uint16_t ends[FAST_LINES + 64], number = 0;
    uint64_t low = 0, high = 0, repeated = 0, bit;
    const char *p, *end, *safe = octets + size - 16;
    const uint16_t *next = ends, *blank;
    size_t count;
    int id;

    count = size < 64 ? 0 : SIMD(fast_ends)(octets, size, ends);
    if (count < 2 || count > limits->line_count || limits->name_size < SHORT_NAME)
        return NULL;
    if (count - 2 > room) {
        index->line_count = (uint16_t)count_lines(octets, ends, count);
        return index->line_count > room ? octets : NULL;
    }
    blank = ends + count - 1;
    if (*blank > limits->line_size && has_large_line(octets, ends, count, limits->line_size))
        return NULL;
    *start_end = *next - 1u;
    for (p = octets + *next + 1; ++next < blank; p = end + 2) {
        end = octets + *next - 1;
        id = __builtin_expect(p > safe, 0) ? -1 : SIMD(fast_line)(octets, p, end, lines);
        if (__builtin_expect(id < 0, 0)) {
            id = index_unusual_line(octets, p, end, limits, lines, number);
            if (id < 0)
                return NULL;
            if (id & (int)SIP_FOLDED)
                continue;
        }
        lines++;
        number++;
        bit = 1ull << (id & 63);
        if (id < 64) {
            if (id < SIP_FIRST_COUNT && !(low & bit))
                index->first[id] = number;
            repeated |= low & bit;
            low |= bit;
        } else {
            high |= bit;
        }
    }
    if (repeated & SINGLE_HEADERS)
        return NULL;
    index->line_count = number;
    index->present[0] = low;
    index->present[1] = high;
    index->first[SIP_OTHER] = 0;
    return octets + *blank + 1;
}
