#include "proto/ws_frame.h"

#include <endian.h>

#include "base/err.h"
#include "proto/utf8.h"

enum {
    BIT_FIN = 0x80,
    BIT_RSV1 = 0x40,
    BITS_RSV23 = 0x30,
    BITS_OPCODE = 0x0f,
    BIT_MASK = 0x80,
    BITS_LEN = 0x7f,
    LEN_IN_2 = 126,
    LEN_IN_8 = 127,
};

static bool opcode_is_known(uint8_t opcode)
{
    return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

static bool first_byte_is_good(uint8_t first, bool may_compress)
{
    uint8_t opcode = first & BITS_OPCODE;
    if ((first & BITS_RSV23) || !opcode_is_known(opcode)) {
        return false;
    }
    /* RFC 7692 6: RSV1 marks the first frame of a message, no continuation, no control frame. */
    if ((first & BIT_RSV1) && (!may_compress || (opcode != WS_TEXT && opcode != WS_BINARY))) {
        return false;
    }
    /* RFC 6455 5.5: a control frame is never fragmented. */
    return !ws_opcode_is_control(opcode) || (first & BIT_FIN);
}

/* RFC 6455 5.2: the shortest form must be used, and the top bit of eight bytes is 0. */
static bool length_is_good(uint8_t form, uint64_t payload_len)
{
    if (form == LEN_IN_2) {
        return payload_len >= LEN_IN_2;
    }
    return form < LEN_IN_2 || (payload_len > UINT16_MAX && payload_len <= INT64_MAX);
}

static size_t length_bytes(uint8_t form)
{
    return form < LEN_IN_2 ? 0 : form == LEN_IN_2 ? 2 : 8;
}

static uint64_t length_read(uint8_t form, const uint8_t *at)
{
    uint64_t value = 0;
    if (form < LEN_IN_2) {
        return form;
    }
    for (size_t i = 0; i < length_bytes(form); i++) {
        value = value << 8 | at[i];
    }
    return value;
}

ssize_t ws_frame_header_read(struct ws_frame_header *out_header, const uint8_t *data, size_t len,
                             bool may_compress)
{
    if (len >= 1 && !first_byte_is_good(data[0], may_compress)) {
        return ERR_PROTOCOL;
    }
    if (len < 2) {
        return 0;
    }
    uint8_t form = data[1] & BITS_LEN;
    if (ws_opcode_is_control(data[0] & BITS_OPCODE) && form > WS_CONTROL_MAX) {
        return ERR_PROTOCOL;
    }
    size_t size = 2 + length_bytes(form);
    if (len < size) {
        return 0;
    }
    uint64_t payload_len = length_read(form, data + 2);
    if (!length_is_good(form, payload_len)) {
        return ERR_PROTOCOL;
    }
    bool masked = data[1] & BIT_MASK;
    if (masked && len < size + 4) {
        return 0;
    }
    *out_header = (struct ws_frame_header){
        .fin = data[0] & BIT_FIN,
        .compressed = data[0] & BIT_RSV1,
        .masked = masked,
        .opcode = data[0] & BITS_OPCODE,
        .payload_len = payload_len,
    };
    if (masked) {
        memcpy(out_header->mask_key, data + size, 4);
        size += 4;
    }
    return (ssize_t)size;
}

static size_t length_write(uint8_t *out, uint64_t payload_len)
{
    if (payload_len < LEN_IN_2) {
        out[0] = (uint8_t)payload_len;
        return 1;
    }
    if (payload_len <= UINT16_MAX) {
        uint16_t wire = htobe16((uint16_t)payload_len);
        out[0] = LEN_IN_2;
        memcpy(out + 1, &wire, sizeof(wire));
        return 3;
    }
    uint64_t wire = htobe64(payload_len);
    out[0] = LEN_IN_8;
    memcpy(out + 1, &wire, sizeof(wire));
    return 9;
}

size_t ws_frame_header_write(uint8_t out[WS_HEADER_MAX], const struct ws_frame_header *header)
{
    out[0] = (uint8_t)((header->fin ? BIT_FIN : 0) | (header->compressed ? BIT_RSV1 : 0) |
                       header->opcode);
    size_t size = 1 + length_write(out + 1, header->payload_len);
    if (header->masked) {
        out[1] |= BIT_MASK;
        memcpy(out + size, header->mask_key, 4);
        size += 4;
    }
    return size;
}

void ws_unmask(uint8_t *data, size_t len, const uint8_t mask_key[4], uint64_t offset)
{
    uint8_t turned[8];
    for (size_t i = 0; i < sizeof(turned); i++) {
        turned[i] = mask_key[(offset + i) & 3];
    }
    uint64_t key;
    memcpy(&key, turned, sizeof(key));
    for (; len >= sizeof(key); data += sizeof(key), len -= sizeof(key)) {
        uint64_t word;
        memcpy(&word, data, sizeof(word));
        word ^= key;
        memcpy(data, &word, sizeof(word));
    }
    for (size_t i = 0; i < len; i++) {
        data[i] ^= turned[i];
    }
}

bool ws_close_code_is_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

size_t ws_close_body_write(uint8_t out[WS_CONTROL_MAX], uint16_t code, struct str reason)
{
    if (code == WS_CLOSE_NO_STATUS) {
        return 0;
    }
    reason = utf8_truncate(reason, WS_CLOSE_REASON_MAX);
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    if (reason.len > 0) {
        memcpy(out + 2, reason.ptr, reason.len);
    }
    return 2 + reason.len;
}

int ws_close_body_read(struct str body, uint16_t *out_code, struct str *out_reason)
{
    if (body.len == 0) {
        *out_code = WS_CLOSE_NO_STATUS;
        *out_reason = STR("");
        return 0;
    }
    if (body.len == 1) {
        return ERR_PROTOCOL;
    }
    uint16_t code = (uint16_t)((uint8_t)body.ptr[0] << 8 | (uint8_t)body.ptr[1]);
    struct str reason = str_make(body.ptr + 2, body.len - 2);
    if (!ws_close_code_is_valid(code)) {
        return ERR_PROTOCOL;
    }
    if (!utf8_is_valid(reason)) {
        return ERR_UTF8;
    }
    *out_code = code;
    *out_reason = reason;
    return 0;
}

uint16_t ws_close_code_for(int err)
{
    switch (err) {
    case ERR_PROTOCOL: return WS_CLOSE_PROTOCOL;
    case ERR_UTF8:
    case ERR_SYNTAX: return WS_CLOSE_BAD_DATA;
    case ERR_TOO_LARGE: return WS_CLOSE_TOO_LARGE;
    default: return WS_CLOSE_INTERNAL;
    }
}

size_t ws_close_frame_write(uint8_t out[WS_CONTROL_MAX + 2], uint16_t code, struct str reason)
{
    size_t len = ws_close_body_write(out + 2, code, reason);
    out[0] = BIT_FIN | WS_CLOSE;
    out[1] = (uint8_t)len;
    return 2 + len;
}

static uint8_t *append_frame(struct buf *out, const struct ws_frame_header *header,
                             struct str payload)
{
    uint8_t wire[WS_HEADER_MAX];
    size_t size = ws_frame_header_write(wire, header);
    if (payload.len > SIZE_MAX - size || !buf_reserve(out, size + payload.len)) {
        return NULL;
    }
    buf_append(out, wire, size);
    buf_append(out, payload.ptr, payload.len);
    return out->data + out->len - payload.len;
}

int ws_frame_append(struct buf *out, enum ws_opcode opcode, bool compressed, struct str payload)
{
    struct ws_frame_header header = {
        .fin = true, .compressed = compressed, .opcode = opcode, .payload_len = payload.len};
    append_frame(out, &header, payload);
    return buf_err(out);
}

int ws_frame_append_masked(struct buf *out, enum ws_opcode opcode, bool compressed,
                           struct str payload, const uint8_t mask_key[4])
{
    struct ws_frame_header header = {.fin = true,
                                     .compressed = compressed,
                                     .masked = true,
                                     .opcode = opcode,
                                     .payload_len = payload.len};
    memcpy(header.mask_key, mask_key, sizeof(header.mask_key));
    uint8_t *body = append_frame(out, &header, payload);
    if (body) {
        ws_unmask(body, payload.len, mask_key, 0);
    }
    return buf_err(out);
}
