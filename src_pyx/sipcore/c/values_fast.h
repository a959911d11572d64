/* values_fast.h - the start line and the values that a message is routed by, written the way nearly all are; one
 * instruction set.  Part of fast.h, which includes it as lines_fast.h.
 *
 * Each reader says whether it could read the whole value.  What it could not (folds, white space where none is usual,
 * escapes, quotes in parameters, lists, faults) routing.h reads, which gives the same for all that is read here.
 *
 * A value ends before white space or a line end, which no set holds but SET_QUOTED and SET_WORDS the space: so nothing
 * is skipped beyond the line, and 16 readable octets behind the value are enough. */

/* `sip:[user@]host[:port][;parameters]` at p: its end, or NULL. */
TARGET ALWAYS_INLINE const char *SIMD(skip_sip_uri)(const char *p)
{
    const char *from = p + 4;
    uint32_t port = 0;

    if (memcmp(p, "sip:", 4))
        return NULL;
    p = SIMD(skip)(from, SET_PLAIN);
    if (p == from)
        return NULL;
    if (*p == '@') {
        from = p + 1;
        p = SIMD(skip)(from, SET_HOST);
    } else if (SIMD(skip)(from, SET_HOST) != p) {
        return NULL;
    }
    if (p == from)
        return NULL;
    if (*p == ':') {
        for (from = ++p; is_char((unsigned char)*p, CHAR_DIGIT) && p < from + 5; p++)
            port = port * 10 + (uint32_t)(*p - '0');
        if (port - 1 >= 65535)
            return NULL;
    }
    while (*p == ';') {
        from = ++p;
        p = SIMD(skip)(p, SET_PLAIN);
        if (p == from || *from == '=')
            return NULL;
    }
    return p;
}

/* `;name` or `;name=value` at *p, which is moved behind it; 0 for anything else. */
TARGET ALWAYS_INLINE int SIMD(take_parameter)(const char *octets, const char **p, sip_parameter *parameter)
{
    const char *name = *p + 1, *end, *value;

    if (**p != ';')
        return 0;
    end = SIMD(skip)(name, SET_TOKEN);
    parameter->name = span_of(octets, name, end);
    parameter->has_value = *end == '=';
    value = end + parameter->has_value;
    if (parameter->has_value)
        end = SIMD(skip)(value, SET_VALUE);
    parameter->value = span_of(octets, value, end);
    *p = end;
    return parameter->name.size && parameter->has_value == (end > value);
}

TARGET ALWAYS_INLINE int SIMD(fast_via)(const char *octets, const sip_line *line, const sip_limits *limits,
                                        sip_index *index)
{
    const char *p = octets + line->value_at, *end = p + line->value_size, *from;
    uint32_t count = 0, port = 0;
    sip_parameter parameter;
    sip_via via;

    if (memcmp(p, "SIP/2.0/", 8))
        return 0;
    from = p += 8;
    via.transport_id = SIP_TRANSPORT_UDP;
    p += 3;
    if (memcmp(from, "UDP ", 4)) {
        p = SIMD(skip)(from, SET_TOKEN);
        via.transport_id = (uint8_t)sip_transport_id(from, (size_t)(p - from));
        if (p == from || *p != ' ')
            return 0;
    }
    from = ++p;
    p = SIMD(skip)(from, SET_HOST);
    if (p == from)
        return 0;
    if (*p == ':') {
        const char *digits = ++p;
        for (; is_char((unsigned char)*p, CHAR_DIGIT) && p < digits + 5; p++)
            port = port * 10 + (uint32_t)(*p - '0');
        if (port - 1 >= 65535)
            return 0;
    }
    via.sent_by = span_of(octets, from, p);
    via.branch.at = via.branch.size = via.received.size = via.rport_at = 0;
    via.rport = -1;
    while (p != end) {
        if (++count > limits->parameter_count || !SIMD(take_parameter)(octets, &p, &parameter))
            return 0;
        note_via_parameter(octets, &parameter, &via);
    }
    index->top_via.at = line->value_at;
    index->top_via.size = line->value_size;
    index->sent_by = via.sent_by;
    index->branch = via.branch;
    index->top_via_transport = via.transport_id;
    if (via.rport == 0) {
        index->flags |= SIP_HAS_RPORT;
        index->rport_at = via.rport_at;
    }
    return 1;
}

TARGET ALWAYS_INLINE int SIMD(fast_address)(const char *octets, const sip_line *line, const sip_limits *limits,
                                            sip_span *tag)
{
    const char *p = octets + line->value_at, *end = p + line->value_size;
    sip_parameter parameter;
    sip_span found = {0, 0};
    uint32_t count = 0;

    if (*p == '"') {
        p = SIMD(skip)(p + 1, SET_QUOTED);
        if (*p != '"')
            return 0;
        p++;
        p += *p == ' ';
    } else if (*p != '<') {
        p = SIMD(skip)(p, SET_WORDS);
    }
    if (*p != '<' || !(p = SIMD(skip_sip_uri)(p + 1)) || *p != '>')
        return 0;
    p++;
    while (p != end) {
        if (++count > limits->parameter_count || !SIMD(take_parameter)(octets, &p, &parameter))
            return 0;
        if (parameter.name.size == 3 && !found.size && IS_WORD(octets + parameter.name.at, 3, "tag"))
            found = parameter.value;
    }
    *tag = found;
    return 1;
}

TARGET ALWAYS_INLINE int SIMD(fast_call_id)(const char *octets, const sip_line *line, sip_index *index)
{
    const char *from = octets + line->value_at, *end = from + line->value_size;

    if (from == end || SIMD(skip)(from, SET_VISIBLE) != end)
        return 0;
    index->call_id.at = line->value_at;
    index->call_id.size = line->value_size;
    return 1;
}

TARGET ALWAYS_INLINE int SIMD(fast_cseq)(const char *octets, const sip_line *line, sip_index *index)
{
    const char *p = octets + line->value_at, *end = p + line->value_size, *method;
    uint64_t number = 0;

    for (method = p; is_char((unsigned char)*p, CHAR_DIGIT) && p < method + 10; p++)
        number = number * 10 + (uint64_t)(*p - '0');
    if (p == method || number > 0x7fffffff || *p != ' ')
        return 0;
    method = p + 1;
    p = SIMD(skip)(method, SET_TOKEN);
    if (p != end || p == method)
        return 0;
    if (index->status_code)
        index->method = (uint8_t)sip_method_id(method, (size_t)(end - method));
    else if ((size_t)(end - method) != index->method_token.size ||
             memcmp(octets + index->method_token.at, method, index->method_token.size))
        return 0;
    index->cseq_method = index->method;
    index->cseq_number = (uint32_t)number;
    index->cseq_method_token = span_of(octets, method, end);
    return 1;
}

TARGET ALWAYS_INLINE int SIMD(fast_start_line)(const char *octets, size_t start_end, sip_index *index)
{
    const char *end = octets + start_end, *p, *from;
    int64_t code;

    if (!memcmp(octets, "SIP/2.0 ", 8)) {
        code = start_end < 11 ? -1 : sip_parse_number(octets + 8, 3, 699);
        if (code < 100 || (start_end > 11 && octets[11] != ' '))
            return 0;
        index->method_token.size = 7;
        index->status_code = (uint16_t)code;
        if (start_end > 11)
            index->request_uri = span_of(octets, octets + 12, end);
        return 1;
    }
    p = SIMD(skip)(octets, SET_TOKEN);
    from = p + 1;
    if (p == octets || *p != ' ' || !(p = SIMD(skip_sip_uri)(from)) || end - p != 8 || memcmp(p, " SIP/2.0", 8))
        return 0;
    index->method_token.size = (uint16_t)(from - 1 - octets);
    index->method = (uint8_t)sip_method_id(octets, index->method_token.size);
    index->request_uri = span_of(octets, from, p);
    return 1;
}

/* The start line, Via, From, To, Call-ID and CSeq, each as routing.h has it where it is not plain; then Contact. */
TARGET static void SIMD(fast_values)(const char *octets, size_t size, size_t start_end, const sip_limits *limits,
                                     const sip_line *lines, sip_index *index)
{
    const sip_line *line;
    size_t safe = size - 16;     /* where a value may end that is read with vectors */

    if (start_end > safe || !SIMD(fast_start_line)(octets, start_end, index))
        scan_start_line(octets, octets + start_end, limits, index);
#define IS_SAFE(line_) ((size_t)(line_)->value_at + (line_)->value_size <= safe)
    if ((line = first_line(index, lines, SIP_VIA)) && !(IS_SAFE(line) && SIMD(fast_via)(octets, line, limits, index)))
        scan_via(octets, line, limits, index);
    if ((line = first_line(index, lines, SIP_FROM)) &&
        !(IS_SAFE(line) && SIMD(fast_address)(octets, line, limits, &index->from_tag)))
        scan_address(octets, line, limits, SIP_FAULT_FROM, &index->from_tag, index);
    if ((line = first_line(index, lines, SIP_TO)) &&
        !(IS_SAFE(line) && SIMD(fast_address)(octets, line, limits, &index->to_tag)))
        scan_address(octets, line, limits, SIP_FAULT_TO, &index->to_tag, index);
    if ((line = first_line(index, lines, SIP_CALL_ID)) && !(IS_SAFE(line) && SIMD(fast_call_id)(octets, line, index)))
        scan_call_id(octets, line, limits, index);
    if ((line = first_line(index, lines, SIP_CSEQ)) && !(IS_SAFE(line) && SIMD(fast_cseq)(octets, line, index)))
        scan_cseq(octets, line, index);
    if ((line = first_line(index, lines, SIP_CONTACT)))
        scan_contact(octets, line, index);
#undef IS_SAFE
}
