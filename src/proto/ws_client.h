/* The client's side of HTTP/1.1 and of the WebSocket opening handshake (RFC 6455 section 4.1), for
 * the command line and the load tools. Pure: random bytes come from the caller. */
#ifndef TIDEGATE_PROTO_WS_CLIENT_H
#define TIDEGATE_PROTO_WS_CLIENT_H

#include "proto/http_fields.h"
#include "proto/http_response.h"
#include "proto/ws_handshake.h"

/* base64 of 16 fresh random bytes, with a NUL. */
void ws_client_make_key(const uint8_t random[16], char out_key[WS_KEY_LEN + 1]);

struct ws_client_request {
    struct str host;       /* with its port, unless that is the scheme's */
    struct str target;     /* "/v1/ws" */
    struct str key;        /* of ws_client_make_key */
    struct str origin;     /* each of these may be empty: not sent */
    struct str protocols;  /* "tidegate.v1.json" */
    struct str extensions; /* "permessage-deflate" */
    const struct http_pair *headers;
    size_t header_count;
};

/* Appends the upgrade request. 0, the buffer's error, or ERR_SYNTAX for a control byte in a part.
 */
int ws_client_write_request(struct buf *out, const struct ws_client_request *request);

struct http_answer {
    int status;
    uint8_t minor_version;
    bool chunked;
    bool keep_alive;
    int64_t content_length; /* -1: none; without chunked the body then ends with the connection */
    struct http_fields fields;
    enum http_refusal refusal; /* why a negative result */
};

/* Parses the head of a response. Returns its bytes, 0 when more are needed, or a negative code. */
ssize_t http_answer_parse(struct http_answer *out_answer, const struct http_limits *limits,
                          const uint8_t *data, size_t len);

/* 0 when the answer is the 101 that this key asks for; ERR_DENIED for another status, ERR_PROTOCOL
 * for a 101 that breaks RFC 6455 4.1 (Upgrade, Connection, Accept; a subprotocol or an extension
 * that was not asked for). */
int ws_client_check_answer(const struct http_answer *answer,
                           const struct ws_client_request *request);

#endif
