/* fuzz_scan.c - libFuzzer target for c/scan.c.
 *
 * Input is copied into an allocation of exactly its size, so that a sanitizer
 * sees the first octet read too far, and once more to the end of a page behind
 * which nothing is readable.  What the index says must lie inside the octets, and
 * must not depend on the room for lines, on datagram or stream, nor on the
 * instruction set; what is read strictly is read usually, and that leniently.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "scan.h"

#define ROOM 4096
#define GUARDED (1u << 20)
#define MUST(condition) do { if (!(condition)) abort(); } while (0)

static void check_span(sip_span span, size_t size)
{
    MUST((size_t)span.at + span.size <= size);
}

static void check_index(size_t size, const sip_line *lines, const sip_index *index)
{
    size_t i, end = 0;

    check_span(index->method_token, size);
    check_span(index->request_uri, size);
    check_span(index->top_via, size);
    check_span(index->sent_by, size);
    check_span(index->branch, size);
    check_span(index->from_tag, size);
    check_span(index->to_tag, size);
    check_span(index->call_id, size);
    check_span(index->cseq_method_token, size);
    MUST(index->fault_at <= size);
    MUST(index->body_at <= size);
    for (i = 0; i < index->line_count; i++) {
        MUST(lines[i].name_at >= end);
        MUST((size_t)lines[i].name_at + lines[i].name_size < size);
        MUST(lines[i].value_at > lines[i].name_at);
        end = (size_t)lines[i].value_at + lines[i].value_size;
        MUST(end <= size);
    }
}

static void check_values(const char *octets, const sip_line *lines, const sip_index *index)
{
    size_t i, at, end;
    sip_name_addr address;
    sip_via via;
    sip_uri uri;

    for (i = 0; i < index->line_count; i++) {
        end = (size_t)lines[i].value_at + lines[i].value_size;
        if (!sip_parse_address(octets, lines[i].value_at, end, 128, &address, &uri, &at)) {
            check_span(address.uri, end);
            check_span(address.parameters, end);
            check_span(address.tag, end);
            MUST(address.end <= end);
        }
        if (!sip_parse_via(octets, lines[i].value_at, end, 128, &via, &at)) {
            check_span(via.branch, end);
            check_span(via.sent_by, end);
            MUST(via.end <= end);
        }
        if (!sip_parse_uri(octets, lines[i].value_at, end, &uri, &at)) {
            check_span(uri.host, end);
            check_span(uri.parameters, end);
            check_span(uri.headers, end);
        }
        for (at = lines[i].value_at; at < end; at++) {
            at = sip_list_value_end(octets, at, end);
            MUST(at <= end);
        }
    }
}

/* The end of a page whose successor is unreadable. */
static char *guard(void)
{
    static char *pages;

    if (!pages) {
        pages = mmap(NULL, 2 * GUARDED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(pages != MAP_FAILED && !mprotect(pages + GUARDED, GUARDED, PROT_NONE));
    }
    return pages + GUARDED;
}

/* Whether each instruction set gives this index. */
static void check_sets(const char *octets, size_t size, const sip_limits *limits, int result, const sip_index *index,
                       const sip_line *lines)
{
    static sip_line found_lines[ROOM];
    sip_index found;
    size_t number;

    for (number = 1; number < 8; number++) {
        if (!sip_instruction_set(number))
            continue;
        MUST(!sip_use_instruction_set(sip_instruction_set(number)));
        MUST(sip_scan(octets, size, limits, found_lines, ROOM, &found) == result);
        MUST(!memcmp(&found, index, sizeof found));
        MUST(!memcmp(found_lines, lines, index->line_count * sizeof *lines));
    }
    sip_use_instruction_set(sip_instruction_set(0));
}

static void check_lenience(const char *octets, size_t size, int usual)
{
    static sip_line lines[ROOM];
    sip_limits limits = sip_default_limits;
    sip_index index;

    limits.lenience = 0;
    if (sip_scan(octets, size, &limits, lines, ROOM, &index) == SIP_OK)
        MUST(usual == SIP_OK);
    limits.lenience = ~0u;
    if (usual == SIP_OK)
        MUST(sip_scan(octets, size, &limits, lines, ROOM, &index) == SIP_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sip_line lines[ROOM], few[SIP_LINES_INLINE];
    char *octets = malloc(size ? size : 1);
    sip_index index, other;
    sip_limits limits = sip_default_limits;
    int datagram, stream;

    memcpy(octets, data, size);
    datagram = sip_scan(octets, size, &limits, lines, ROOM, &index);
    MUST(datagram != SIP_INCOMPLETE && datagram != SIP_MORE_LINES);
    MUST((datagram == SIP_OK) == (index.fault == 0));
    check_index(size, lines, &index);
    check_values(octets, lines, &index);
    check_lenience(octets, size, datagram);
    if (size <= GUARDED)
        check_sets(memcpy(guard() - size, octets, size), size, &limits, datagram, &index, lines);
    if (datagram == SIP_OK)
        MUST(index.size <= size && index.body_at + index.body_size == index.size);

    if (sip_scan(octets, size, &limits, few, SIP_LINES_INLINE, &other) == SIP_MORE_LINES)
        MUST(other.line_count >= index.line_count && other.line_count > SIP_LINES_INLINE);
    else
        MUST(memcmp(&index, &other, sizeof index) == 0);

    limits.flags = SIP_STREAM;
    stream = sip_scan(octets, size, &limits, lines, ROOM, &other);
    if (stream == SIP_OK) {
        MUST(datagram == SIP_OK);
        MUST(other.size == index.size && other.body_at == index.body_at && other.line_count == index.line_count);
    }
    free(octets);
    return 0;
}
