#include "proto/trace_context.h"

#include "proto/digest.h"

static const uint8_t zeros[TRACE_ID_LEN];

static bool is_lower_hex(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

static bool read_hex(uint8_t *out, size_t len, const char *from)
{
    struct str text = str_make(from, 2 * len);
    return is_lower_hex(text) && hex_decode(out, len, text);
}

static bool has_ids(const struct trace_context *context)
{
    return memcmp(context->trace_id, zeros, TRACE_ID_LEN) != 0 &&
           memcmp(context->span_id, zeros, TRACE_SPAN_ID_LEN) != 0;
}

/* 3.2.4: a later version may go on, behind a dash. */
static bool has_length_of(struct str text, uint8_t version)
{
    if (text.len == TRACE_PARENT_LEN) {
        return true;
    }
    return version > 0 && text.len > TRACE_PARENT_LEN && text.ptr[TRACE_PARENT_LEN] == '-';
}

bool trace_parent_parse(struct trace_context *out_context, struct str text)
{
    struct trace_context context;
    uint8_t version;
    if (text.len < TRACE_PARENT_LEN || !read_hex(&version, 1, text.ptr) || version == 0xff ||
        !has_length_of(text, version)) {
        return false;
    }
    if (text.ptr[2] != '-' || text.ptr[35] != '-' || text.ptr[52] != '-' ||
        !read_hex(context.trace_id, TRACE_ID_LEN, text.ptr + 3) ||
        !read_hex(context.span_id, TRACE_SPAN_ID_LEN, text.ptr + 36) ||
        !read_hex(&context.flags, 1, text.ptr + 53) || !has_ids(&context)) {
        return false;
    }
    context.flags &= TRACE_SAMPLED;
    *out_context = context;
    return true;
}

void trace_parent_format(char out[TRACE_PARENT_LEN], const struct trace_context *context)
{
    memcpy(out, "00-", 3);
    hex_encode(out + 3, context->trace_id, TRACE_ID_LEN);
    out[35] = '-';
    hex_encode(out + 36, context->span_id, TRACE_SPAN_ID_LEN);
    out[52] = '-';
    hex_encode(out + 53, &context->flags, 1);
}

struct trace_context trace_context_child(const struct trace_context *parent, uint64_t random)
{
    struct trace_context child = *parent;
    memcpy(child.span_id, &random, TRACE_SPAN_ID_LEN);
    return child;
}

void trace_context_pack(uint8_t out[TRACE_PACKED_LEN], const struct trace_context *context)
{
    memcpy(out, context->trace_id, TRACE_ID_LEN);
    memcpy(out + TRACE_ID_LEN, context->span_id, TRACE_SPAN_ID_LEN);
    out[TRACE_PACKED_LEN - 1] = context->flags;
}

bool trace_context_unpack(struct trace_context *out_context, struct str packed)
{
    struct trace_context context;
    if (packed.len < TRACE_PACKED_LEN) {
        return false;
    }
    memcpy(context.trace_id, packed.ptr, TRACE_ID_LEN);
    memcpy(context.span_id, packed.ptr + TRACE_ID_LEN, TRACE_SPAN_ID_LEN);
    context.flags = (uint8_t)packed.ptr[TRACE_PACKED_LEN - 1] & TRACE_SAMPLED;
    if (!has_ids(&context)) {
        return false;
    }
    *out_context = context;
    return true;
}

/* ---- tracestate ---- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_key_char(char c)
{
    return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '*' || c == '/';
}

static bool is_key_part(struct str part, size_t max, bool may_begin_with_digit)
{
    if (part.len == 0 || part.len > max ||
        !(is_lower(part.ptr[0]) || (may_begin_with_digit && is_digit(part.ptr[0])))) {
        return false;
    }
    for (size_t i = 1; i < part.len; i++) {
        if (!is_key_char(part.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* 3.3.1.3.1: "vendor", or "tenant@vendor". */
static bool is_key(struct str key)
{
    struct str rest = key;
    struct str tenant;
    if (!memchr(key.ptr, '@', key.len)) {
        return is_key_part(key, 256, false);
    }
    str_split(&rest, '@', &tenant);
    return is_key_part(tenant, 241, true) && is_key_part(rest, 14, false);
}

/* 3.3.1.3.2: printable, and no space at its end. */
static bool is_value(struct str value)
{
    if (value.len == 0 || value.len > 256 || value.ptr[value.len - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c < 0x20 || c > 0x7e || c == ',' || c == '=') {
            return false;
        }
    }
    return true;
}

static bool is_member(struct str member)
{
    struct str value = member;
    struct str key;
    return str_split(&value, '=', &key) && value.ptr && key.len > 0 && is_key(key) &&
           is_value(value);
}

bool trace_state_is_sound(struct str text)
{
    struct str rest = text;
    struct str member;
    size_t count = 0;
    if (text.len > TRACE_STATE_MAX) {
        return false;
    }
    while (rest.ptr && str_split(&rest, ',', &member)) {
        member = str_trim(member);
        if (member.len == 0) {
            continue; /* 3.3.1.1: empty members are allowed */
        }
        if (++count > TRACE_STATE_MEMBERS || !is_member(member)) {
            return false;
        }
    }
    return true;
}
