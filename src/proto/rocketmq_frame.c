#include "proto/rocketmq_frame.h"

#include "base/err.h"
#include "proto/json.h"
#include "proto/rocketmq_bytes.h"

enum {
    PREFIX = 8,           /* the length, the kind, the header's length */
    HEADER_DEPTH = 3,     /* extFields is the second level; nothing that we read is deeper */
    CLIENT_VERSION = 513, /* what 5.5.0 calls itself; from 401 on, routes come in proper JSON */
};

enum kind { KIND_JSON, KIND_BINARY };

/* --- JSON headers --- */

static bool read_i32(struct json_value value, int32_t *out_number)
{
    uint64_t digits;
    struct json_value positive = value;
    bool negative = value.raw.len > 0 && value.raw.ptr[0] == '-';
    if (negative) {
        positive.raw = str_make(value.raw.ptr + 1, value.raw.len - 1);
    }
    if (!json_u64(positive, INT32_MAX, &digits)) {
        return false;
    }
    *out_number = negative ? -(int32_t)digits : (int32_t)digits;
    return true;
}

static struct str inside_quotes(struct json_value value)
{
    return value.type == JSON_TYPE_STRING ? str_make(value.raw.ptr + 1, value.raw.len - 2)
                                          : str_make("", 0);
}

static int read_json_header(struct rocketmq_frame *frame, struct str header)
{
    enum { CODE, OPAQUE, FLAG, REMARK, FIELDS, COUNT };
    struct json_field fields[COUNT] = {
        {.name = STR("code")},   {.name = STR("opaque")},    {.name = STR("flag")},
        {.name = STR("remark")}, {.name = STR("extFields")},
    };
    struct json_value object;
    int32_t flag;
    if (json_parse(&object, header, HEADER_DEPTH, NULL) ||
        json_read_fields(object, fields, COUNT, NULL) ||
        !read_i32(fields[CODE].value, &frame->code) ||
        !read_i32(fields[OPAQUE].value, &frame->opaque) || !read_i32(fields[FLAG].value, &flag)) {
        return ERR_PROTOCOL;
    }
    frame->flag = (uint32_t)flag;
    frame->remark = inside_quotes(fields[REMARK].value);
    if (fields[FIELDS].value.type == JSON_TYPE_OBJECT) {
        frame->fields = fields[FIELDS].value.raw;
    }
    return 0;
}

/* --- Binary headers --- */

/* Moves over one parameter: a name counted by two bytes, a value counted by four. */
static bool next_binary_field(struct rocketmq_bytes *bytes, struct str *out_name,
                              struct str *out_value)
{
    if (bytes->left == 0) {
        return false;
    }
    *out_name = rocketmq_bytes_take(bytes, rocketmq_bytes_uint(bytes, 2));
    *out_value = rocketmq_bytes_take(bytes, rocketmq_bytes_uint(bytes, 4));
    return !bytes->bad;
}

static bool binary_fields_are_whole(struct str fields)
{
    struct rocketmq_bytes bytes = rocketmq_bytes_of(fields);
    struct str name, value;
    while (next_binary_field(&bytes, &name, &value)) {
    }
    return !bytes.bad;
}

static int read_binary_header(struct rocketmq_frame *frame, struct str header)
{
    struct rocketmq_bytes bytes = rocketmq_bytes_of(header);
    frame->code = (int16_t)rocketmq_bytes_uint(&bytes, 2);
    rocketmq_bytes_take(&bytes, 3); /* language and version */
    frame->opaque = (int32_t)rocketmq_bytes_uint(&bytes, 4);
    frame->flag = (uint32_t)rocketmq_bytes_uint(&bytes, 4);
    frame->remark = rocketmq_bytes_take(&bytes, rocketmq_bytes_uint(&bytes, 4));
    frame->fields = rocketmq_bytes_take(&bytes, rocketmq_bytes_uint(&bytes, 4));
    if (bytes.bad || bytes.left > 0 || !binary_fields_are_whole(frame->fields)) {
        return ERR_PROTOCOL;
    }
    return 0;
}

/* --- Frames --- */

ssize_t rocketmq_frame_read(struct rocketmq_frame *out_frame, struct str data)
{
    struct rocketmq_bytes bytes = rocketmq_bytes_of(data);
    uint64_t length = rocketmq_bytes_uint(&bytes, 4);
    uint64_t kind = rocketmq_bytes_uint(&bytes, 1);
    uint64_t header_len = rocketmq_bytes_uint(&bytes, 3);
    if (bytes.bad) {
        return 0;
    }
    if (length + 4 > ROCKETMQ_FRAME_MAX || header_len > ROCKETMQ_HEADER_MAX) {
        return ERR_TOO_LARGE;
    }
    if (length < 4 + header_len || kind > KIND_BINARY) {
        return ERR_PROTOCOL;
    }
    if (data.len < length + 4) {
        return 0;
    }
    struct rocketmq_frame frame = {.is_binary = kind == KIND_BINARY};
    struct str header = rocketmq_bytes_take(&bytes, header_len);
    int err = frame.is_binary ? read_binary_header(&frame, header)
                              : read_json_header(&frame, header);
    if (err) {
        return err;
    }
    frame.body = rocketmq_bytes_take(&bytes, length - 4 - header_len);
    *out_frame = frame;
    return (ssize_t)(length + 4);
}

static bool find_binary_field(struct str fields, struct str wanted, size_t cap,
                              struct str *out_value)
{
    struct rocketmq_bytes bytes = rocketmq_bytes_of(fields);
    struct str name, value;
    while (next_binary_field(&bytes, &name, &value)) {
        if (str_equal(name, wanted)) {
            *out_value = value;
            return value.len <= cap;
        }
    }
    return false;
}

bool rocketmq_frame_text(const struct rocketmq_frame *frame, struct str name, char *scratch,
                         size_t cap, struct str *out_value)
{
    if (frame->is_binary) {
        return find_binary_field(frame->fields, name, cap, out_value);
    }
    struct json_value value;
    struct json_value fields = {frame->fields.len ? JSON_TYPE_OBJECT : JSON_TYPE_NONE,
                                frame->fields};
    return json_get(fields, name, &value) && !json_string_text(value, scratch, cap, out_value);
}

bool rocketmq_frame_i64(const struct rocketmq_frame *frame, struct str name, int64_t *out_value)
{
    char scratch[24];
    struct str text;
    uint64_t digits;
    if (!rocketmq_frame_text(frame, name, scratch, sizeof(scratch), &text)) {
        return false;
    }
    bool negative = text.len > 0 && text.ptr[0] == '-';
    struct str rest = negative ? str_make(text.ptr + 1, text.len - 1) : text;
    if (!str_to_u64(rest, INT64_MAX, &digits)) {
        return false;
    }
    *out_value = negative ? -(int64_t)digits : (int64_t)digits;
    return true;
}

static void write_header(struct buf *out, int32_t code, int32_t opaque, uint32_t flag,
                         const struct rocketmq_field *fields, size_t count)
{
    buf_printf(out,
               "{\"code\":%d,\"language\":\"OTHER\",\"version\":%d,\"opaque\":%d,\"flag\":%u,"
               "\"extFields\":{",
               code, CLIENT_VERSION, opaque, flag);
    for (size_t i = 0; i < count; i++) {
        json_write_string_field(out, fields[i].name, fields[i].value);
    }
    buf_append_str(out, STR("}}"));
}

int rocketmq_frame_write(struct buf *out, int32_t code, int32_t opaque, uint32_t flag,
                         const struct rocketmq_field *fields, size_t count, size_t body_len)
{
    size_t start = out->len;
    buf_append(out, "\0\0\0\0\0\0\0\0", PREFIX); /* the lengths, once they are known */
    write_header(out, code, opaque, flag, fields, count);
    if (buf_err(out)) {
        return buf_err(out);
    }
    size_t header_len = out->len - start - PREFIX;
    if (header_len > ROCKETMQ_HEADER_MAX || body_len > ROCKETMQ_FRAME_MAX - PREFIX - header_len) {
        out->len = start;
        return ERR_TOO_LARGE;
    }
    rocketmq_bytes_store_u32(out->data + start, (uint32_t)(4 + header_len + body_len));
    rocketmq_bytes_store_u32(out->data + start + 4, (uint32_t)header_len); /* kind 0 on top */
    return 0;
}
