#include "proto/http_chunked.h"

#include <stdbool.h>
#include <string.h>

#include "proto/http_fields.h"

#define SIZE_DIGITS_MAX 16

enum {
    AT_SIZE,
    AT_EXTENSION,
    AT_SIZE_LF,
    AT_DATA,
    AT_DATA_CR,
    AT_DATA_LF,
    AT_TRAILER, /* the first byte of a trailer line, or of the last empty line */
    AT_TRAILER_NAME,
    AT_TRAILER_VALUE,
    AT_TRAILER_LF,
    AT_END_LF,
    AT_END,
    AT_REFUSED,
};

void http_chunked_init(struct http_chunked *decoder, uint64_t body_max)
{
    *decoder = (struct http_chunked){.body_max = body_max, .state = AT_SIZE};
}

static int refuse(struct http_chunked *decoder, enum http_refusal refusal)
{
    decoder->state = AT_REFUSED;
    decoder->refusal = refusal;
    return http_refusal_err(refusal);
}

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool is_control(uint8_t byte)
{
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

static int on_size(struct http_chunked *decoder, uint8_t byte)
{
    int digit = hex_value(byte);
    if (digit >= 0) {
        /* 16 digits fit 64 bits; more could only be zeros in front. */
        if (decoder->size_digits == SIZE_DIGITS_MAX) {
            return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
        }
        decoder->size_digits++;
        decoder->chunk_left = decoder->chunk_left << 4 | (uint64_t)digit;
        return 0;
    }
    if (decoder->size_digits == 0 || (byte != '\r' && byte != ';')) {
        return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
    }
    if (decoder->chunk_left > decoder->body_max - decoder->body_bytes) {
        return refuse(decoder, HTTP_REFUSED_BODY_TOO_LARGE);
    }
    decoder->state = byte == ';' ? AT_EXTENSION : AT_SIZE_LF;
    return 0;
}

static int on_extension(struct http_chunked *decoder, uint8_t byte)
{
    if (byte == '\r') {
        decoder->state = AT_SIZE_LF;
        return 0;
    }
    if (is_control(byte) || ++decoder->extension_bytes > HTTP_CHUNKED_EXTENSIONS_MAX) {
        return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
    }
    return 0;
}

static int on_size_lf(struct http_chunked *decoder, uint8_t byte)
{
    if (byte != '\n') {
        return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
    }
    decoder->size_digits = 0;
    decoder->state = decoder->chunk_left > 0 ? AT_DATA : AT_TRAILER;
    return 0;
}

static int expect(struct http_chunked *decoder, uint8_t byte, uint8_t expected, uint8_t next)
{
    if (byte != expected) {
        return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
    }
    decoder->state = next;
    return 0;
}

static int on_trailer(struct http_chunked *decoder, uint8_t byte)
{
    if (decoder->state == AT_TRAILER && byte == '\r') {
        decoder->state = AT_END_LF;
        return 0;
    }
    if (++decoder->trailer_bytes > HTTP_CHUNKED_TRAILERS_MAX) {
        return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
    }
    if (decoder->state == AT_TRAILER_VALUE) {
        if (byte == '\r') {
            decoder->state = AT_TRAILER_LF;
            return 0;
        }
        return is_control(byte) ? refuse(decoder, HTTP_REFUSED_BAD_CHUNK) : 0;
    }
    if (decoder->state == AT_TRAILER_NAME && byte == ':') {
        decoder->state = AT_TRAILER_VALUE;
        return 0;
    }
    decoder->state = AT_TRAILER_NAME;
    return http_token_len(&byte, 1) == 1 ? 0 : refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
}

/* Every byte but those of the chunks themselves. */
static int on_byte(struct http_chunked *decoder, uint8_t byte)
{
    switch (decoder->state) {
    case AT_SIZE: return on_size(decoder, byte);
    case AT_EXTENSION: return on_extension(decoder, byte);
    case AT_SIZE_LF: return on_size_lf(decoder, byte);
    case AT_DATA_CR: return expect(decoder, byte, '\r', AT_DATA_LF);
    case AT_DATA_LF: return expect(decoder, byte, '\n', AT_SIZE);
    case AT_TRAILER:
    case AT_TRAILER_NAME:
    case AT_TRAILER_VALUE: return on_trailer(decoder, byte);
    case AT_TRAILER_LF: return expect(decoder, byte, '\n', AT_TRAILER);
    case AT_END_LF: return expect(decoder, byte, '\n', AT_END);
    default: return refuse(decoder, HTTP_REFUSED_BAD_CHUNK);
    }
}

static size_t take_data(struct http_chunked *decoder, uint8_t *to, const uint8_t *from, size_t len)
{
    size_t take = len < decoder->chunk_left ? len : (size_t)decoder->chunk_left;
    if (to != from) {
        memmove(to, from, take);
    }
    decoder->chunk_left -= take;
    decoder->body_bytes += take;
    if (decoder->chunk_left == 0) {
        decoder->state = AT_DATA_CR;
    }
    return take;
}

int http_chunked_decode(struct http_chunked *decoder, uint8_t *data, size_t len,
                        size_t *out_body_len, size_t *out_consumed)
{
    size_t body_len = 0;
    size_t at = 0;
    int err = 0;
    while (at < len && !err && decoder->state != AT_END) {
        if (decoder->state == AT_DATA) {
            size_t taken = take_data(decoder, data + body_len, data + at, len - at);
            body_len += taken;
            at += taken;
        } else {
            err = on_byte(decoder, data[at++]);
        }
    }
    *out_body_len = body_len;
    *out_consumed = at;
    if (err) {
        return err;
    }
    return decoder->state == AT_END;
}
