/* instruction_sets.c - every way of indexing a message gives the same index, and reads nothing behind the octets.
 *
 *   instruction_sets ROUNDS FILE...
 *
 * Each file whole and in every truncation, as a datagram and as a stream, strictly and leniently; then ROUNDS mutations of
 * each, and as many heads of random octets.  The octets end where the readable memory ends (FAULTS 1).  Prints the
 * instruction sets that were compared; a difference aborts and says where.  Needs no Python, so that it can run on another
 * machine's processor, emulated or not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "scan.h"

#define PAGE 65536u
#define ROOM 4096
#define FEW 4

static char *page_end;
static const char *sets[8];
static size_t set_count, compared;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint32_t draw(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % limit;
}

static void complain(const char *set, const char *octets, size_t size)
{
    fprintf(stderr, "%s differs from %s on %zu octets:\n", set, sets[0], size);
    fwrite(octets, 1, size, stderr);
    abort();
}

/* One way of scanning with each set; the first one's index is what the others must have.  Whether there is room enough may
 * be told differently, what is found with more room not. */
static void compare(const char *octets, size_t size, const sip_limits *limits, size_t room)
{
    static sip_line first_lines[ROOM], lines[ROOM];
    sip_index first, index;
    size_t i;
    int first_result = 0, result;

    for (i = 0; i < set_count; i++) {
        if (sip_use_instruction_set(sets[i]))
            abort();
        result = sip_scan(octets, size, limits, lines, room, &index);
        if (result == SIP_MORE_LINES)
            result = sip_scan(octets, size, limits, lines, ROOM, &index);
        if (i == 0) {
            first_result = result;
            first = index;
            memcpy(first_lines, lines, sizeof lines[0] * index.line_count);
        } else if (result != first_result || memcmp(&index, &first, sizeof index) ||
                   memcmp(lines, first_lines, sizeof lines[0] * first.line_count)) {
            complain(sets[i], octets, size);
        }
        compared++;
    }
}

static void compare_all(const char *octets, size_t size)
{
    sip_limits limits = sip_default_limits;
    char *copy = page_end - size;

    memcpy(copy, octets, size);
    compare(copy, size, &limits, ROOM);
    limits.flags = SIP_STREAM;
    compare(copy, size, &limits, ROOM);
    limits.lenience = 0;
    compare(copy, size, &limits, ROOM);
    limits.lenience = ~0u;
    limits.flags = 0;
    limits.line_size = 64;
    limits.parameter_count = 2;
    compare(copy, size, &limits, FEW);
}

static size_t mutate(char *octets, size_t size, size_t room)
{
    static const char *const pieces[] = {
        "\r\n", "\r", "\n", "\r\n ", "\r\n\r\n", ":", " ", "\t", ";", "=", ",", "\"", "<", ">", "@", "\\", "%41", "\xc3\xa4",
        "\r\nVia: SIP/2.0/UDP a", "\r\nf: <sip:b@c>;tag=1", ";tag=2", ";rport", ";branch=z9hG4bKx", "sip:", "SIP/2.0", "1", "A"
    };
    const char *piece = pieces[draw(sizeof pieces / sizeof *pieces)];
    size_t piece_size = strlen(piece), at = draw((uint32_t)size + 1), gone = draw(8);

    if (draw(4) == 0 && at < size)
        octets[at] = (char)draw(256);
    if (gone > size - at)
        gone = size - at;
    if (size - gone + piece_size > room)
        return size;
    memmove(octets + at + piece_size, octets + at + gone, size - at - gone);
    memcpy(octets + at, piece, piece_size);
    return size - gone + piece_size;
}

static size_t random_head(char *octets)
{
    static const char alphabet[] = "Via:fromTo-Call-IDCSeq \t\r\n\r\n;=,<>\"@1234567890SIP/2.0UDPsip.";
    size_t size = draw(700), i;

    for (i = 0; i < size; i++)
        octets[i] = draw(20) ? alphabet[draw(sizeof alphabet - 1)] : (char)draw(256);
    return size;
}

static void compare_file(const char *path, long rounds)
{
    static char octets[PAGE], changed[PAGE];
    FILE *file = fopen(path, "rb");
    size_t size, at;
    long round, again;

    if (!file)
        abort();
    size = fread(octets, 1, PAGE / 2, file);
    fclose(file);
    for (at = 0; at <= size; at++)
        compare_all(octets, at);
    for (round = 0; round < rounds; round++) {
        memcpy(changed, octets, size);
        at = size;
        for (again = draw(4); again >= 0; again--)
            at = mutate(changed, at, sizeof changed);
        compare_all(changed, at);
        compare_all(changed, random_head(changed));
    }
}

int main(int count, char **words)
{
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t number;
    int i;

    if (count < 3 || pages == MAP_FAILED || mprotect(pages + PAGE, PAGE, PROT_NONE))
        return 2;
    page_end = pages + PAGE;
    for (number = 0; number < 8; number++)
        if (sip_instruction_set(number))
            sets[set_count++] = sip_instruction_set(number);
    for (i = 2; i < count; i++)
        compare_file(words[i], strtol(words[1], NULL, 10));
    for (number = 0; number < set_count; number++)
        printf("%s ", sets[number]);
    printf("agreed on %zu scans\n", compared);
    return 0;
}
