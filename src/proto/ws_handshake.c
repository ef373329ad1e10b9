#define OPENSSL_SUPPRESS_DEPRECATED /* SHA1_Init; see ws_handshake_accept */

#include "proto/ws_handshake.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/err.h"

#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define SHA1_LEN 20

static bool is_base64(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '+' ||
           c == '/';
}

/* 22 digits hold 132 bits: 16 bytes and four bits, which RFC 4648 3.5 leaves to us to look at. We
 * don't, since the key is a challenge and no data. */
bool ws_handshake_key_is_valid(struct str key)
{
    if (key.len != WS_KEY_LEN || key.ptr[22] != '=' || key.ptr[23] != '=') {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        if (!is_base64(key.ptr[i])) {
            return false;
        }
    }
    return true;
}

static bool protocols_are_tokens(const struct http_request *request)
{
    struct http_list list = {0};
    struct str item;
    while (
        http_fields_next_item(&request->fields, HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL, &list, &item)) {
        if (!http_is_token(item)) {
            return false;
        }
    }
    return true;
}

enum http_refusal ws_handshake_check(const struct http_request *request)
{
    const struct http_fields *fields = &request->fields;
    if (request->method != HTTP_METHOD_GET) {
        return HTTP_REFUSED_WS_METHOD;
    }
    if (!request->upgrade_websocket) {
        return HTTP_REFUSED_WS_UPGRADE;
    }
    if (!http_fields_has_one(fields, HTTP_FIELD_SEC_WEBSOCKET_VERSION) ||
        !str_equal(http_fields_get(fields, HTTP_FIELD_SEC_WEBSOCKET_VERSION), STR("13"))) {
        return HTTP_REFUSED_WS_VERSION;
    }
    if (!http_fields_has_one(fields, HTTP_FIELD_SEC_WEBSOCKET_KEY) ||
        !ws_handshake_key_is_valid(http_fields_get(fields, HTTP_FIELD_SEC_WEBSOCKET_KEY))) {
        return HTTP_REFUSED_WS_KEY;
    }
    if (!protocols_are_tokens(request)) {
        return HTTP_REFUSED_WS_PROTOCOL;
    }
    /* Its bytes would be taken for frames. */
    return http_request_has_body(request) ? HTTP_REFUSED_WS_BODY : HTTP_REFUSED_NOT;
}

static bool offers(const struct http_request *request, struct str protocol)
{
    struct http_list list = {0};
    struct str item;
    while (
        http_fields_next_item(&request->fields, HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL, &list, &item)) {
        if (str_equal(item, protocol)) {
            return true;
        }
    }
    return false;
}

struct str ws_handshake_pick_protocol(const struct http_request *request, const struct str *ours,
                                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (offers(request, ours[i])) {
            return ours[i];
        }
    }
    return (struct str){NULL, 0};
}

int ws_handshake_accept(struct str key, char out_accept[WS_ACCEPT_LEN])
{
    ASSERT(key.len == WS_KEY_LEN);
    uint8_t text[WS_KEY_LEN + sizeof(ACCEPT_GUID) - 1];
    memcpy(text, key.ptr, WS_KEY_LEN);
    memcpy(text + WS_KEY_LEN, ACCEPT_GUID, sizeof(ACCEPT_GUID) - 1);
    uint8_t digest[SHA1_LEN];
    SHA_CTX sha; /* allocates nothing; proto/digest.c says why that matters */
    SHA1_Init(&sha);
    SHA1_Update(&sha, text, sizeof(text));
    SHA1_Final(digest, &sha);
    uint8_t encoded[WS_ACCEPT_LEN + 1]; /* EVP_EncodeBlock adds a NUL */
    EVP_EncodeBlock(encoded, digest, SHA1_LEN);
    memcpy(out_accept, encoded, WS_ACCEPT_LEN);
    return 0;
}

struct writer {
    char *at;
    size_t left;
    bool is_short;
};

static void put(struct writer *writer, struct str part)
{
    if (writer->is_short || part.len > writer->left) {
        writer->is_short = true;
        return;
    }
    if (part.len > 0) {
        memcpy(writer->at, part.ptr, part.len);
    }
    writer->at += part.len;
    writer->left -= part.len;
}

static void put_header(struct writer *writer, struct str name_and_colon, struct str value)
{
    if (value.len > 0) {
        put(writer, name_and_colon);
        put(writer, value);
        put(writer, STR("\r\n"));
    }
}

ssize_t ws_handshake_write(char *out, size_t cap, const struct http_request *request,
                           struct str protocol, struct str extensions)
{
    char accept[WS_ACCEPT_LEN];
    int err = ws_handshake_accept(http_request_field(request, HTTP_FIELD_SEC_WEBSOCKET_KEY),
                                  accept);
    if (err) {
        return err;
    }
    struct writer writer = {out, cap, false};
    put(&writer, STR("HTTP/1.1 101 Switching Protocols\r\n"
                     "Upgrade: websocket\r\n"
                     "Connection: Upgrade\r\n"));
    put_header(&writer, STR("Sec-WebSocket-Accept: "), str_make(accept, WS_ACCEPT_LEN));
    put_header(&writer, STR("Sec-WebSocket-Protocol: "), protocol);
    put_header(&writer, STR("Sec-WebSocket-Extensions: "), extensions);
    put(&writer, STR("\r\n"));
    return writer.is_short ? ERR_TOO_LARGE : writer.at - out;
}
