/* lines_fast.h - the lines of a head that has no fault, one instruction set.  Part of scan.c, included once for each:
 * LINES(name) gives the names of its functions, SIMD(name) those of simd.h, TARGET is the attribute they need.
 *
 * Anything unusual (a fault, a limit, a name of more than 15 octets that is unknown, no end of the head) is left to
 * index_lines, which is slower and says exactly what is wrong. */

/* The header at octets + start whose last line end is at octets + stop: the line and its number, or -1 for anything
 * unusual.  At least 16 octets from start on are readable. */
TARGET ALWAYS_INLINE int LINES(fast_line)(const char *octets, size_t start, size_t stop, const sip_limits *limits,
                                          sip_line *line)
{
    const char *p = octets + start, *value, *end = octets + stop;
    unsigned size = (unsigned)__builtin_ctz(SIMD(mask_of_16)(p, ':') | 0x10000);
    sip_line found;
    int id;

    if (size - 1 >= 15)
        return index_long_name(octets, start, stop, limits, line);
    id = short_id(p, size);
    if (id < 0)
        return index_long_name(octets, start, stop, limits, line);
    value = p + size + 1;
    value += *value == ' ';
    if ((unsigned char)*value <= ' ')
        value = skip_white(value, end);
    if ((unsigned char)end[-1] <= ' ')
        end = trim_end(value, end);
    found.name_at = (uint16_t)start;
    found.value_at = (uint16_t)(value - octets);
    found.value_size = (uint16_t)(end - value);
    found.name_size = (uint8_t)size;
    found.id = (uint8_t)id;
    *line = found;
    return id;
}

/* Positions of the LFs of the head into `ends`, the empty line's last: how many, or 0 if this is no clean head. */
TARGET static size_t LINES(fast_ends)(const char *octets, size_t size, uint16_t *ends, size_t room)
{
    uint64_t cr, lf, blank, cr_before = 0, lf_before = 0;
    size_t at, count = 0, shift;

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
        if (lf != (cr << 1 | cr_before >> 63) || count + 64 > room)
            return 0;
        lf_before = lf;
        cr_before = cr;
        while (lf) {
            ends[count++] = (uint16_t)(at + (size_t)__builtin_ctzll(lf));
            lf &= lf - 1;
        }
        if (blank)
            return count;
    }
    return 0;
}

/* Index all lines; as index_lines, but NULL for anything unusual too, and `octets` when there are more lines than room
 * for them, which index->line_count then tells. *start_end: where the start line's CR is. */
TARGET static const char *LINES(fast_lines)(const char *octets, size_t size, size_t *start_end,
                                            const sip_limits *limits, sip_line *lines, size_t room, sip_index *index)
{
    uint16_t ends[FAST_LINES + 64], first[SIP_FIRST_COUNT] = {0};
    uint64_t present[2] = {0, 0};
    size_t count, i, start, line = 0;
    char next;
    int id, fold;

    count = size < 64 ? 0 : LINES(fast_ends)(octets, size, ends, FAST_LINES + 64);
    if (count < 2 || count > limits->line_count || limits->name_size < 16)
        return NULL;
    if (count - 2 > room) {
        index->line_count = (uint16_t)count_lines(octets, ends, count);
        return index->line_count > room ? octets : NULL;
    }
    *start_end = ends[0] - 1u;
    for (i = 1; i < count - 1; i++) {
        start = ends[i - 1] + 1u;
        fold = 0;
        for (next = octets[ends[i] + 1]; __builtin_expect(next == ' ' || next == '\t', 0); next = octets[ends[i] + 1]) {
            fold = (int)SIP_FOLDED;
            i++;
        }
        if (start + 16 > size || ends[i] - 1u - start > limits->line_size)
            return NULL;
        id = LINES(fast_line)(octets, start, ends[i] - 1u, limits, lines + line);
        if (id < 0)
            return NULL;
        lines[line++].id = (uint8_t)(id | fold);
        present[id >> 6] |= 1ull << (id & 63);
        if (id < SIP_FIRST_COUNT) {
            if (!first[id])
                first[id] = (uint16_t)line;
            else if (SINGLE_HEADERS >> id & 1)
                return NULL;
        }
    }
    index->line_count = (uint16_t)line;
    memcpy(index->present, present, sizeof present);
    first[SIP_OTHER] = 0;
    memcpy(index->first, first, sizeof first);
    return octets + ends[count - 1] + 1;
}

#undef LINES
#undef SIMD
#undef TARGET
