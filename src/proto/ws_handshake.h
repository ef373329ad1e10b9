/* The server's side of the WebSocket opening handshake (RFC 6455 section 4.2). Pure: no I/O, no
 * allocation. What extensions are agreed is decided elsewhere; their text is passed through. */
#ifndef TIDEGATE_PROTO_WS_HANDSHAKE_H
#define TIDEGATE_PROTO_WS_HANDSHAKE_H

#include <sys/types.h>

#include "proto/http_request.h"

#define WS_ACCEPT_LEN 28 /* base64 of a SHA-1 */
#define WS_KEY_LEN 24    /* base64 of 16 bytes */

/* Enough for the 101 with a subprotocol and an extension text of 128 bytes together. */
#define WS_HANDSHAKE_RESPONSE_MAX 384

/* HTTP_REFUSED_NOT when the request may be answered with 101, else the reason. Origin, path and
 * credentials are the caller's to check. Answer a refusal by http_refusal_write() and close: bytes
 * that follow are not to be parsed. */
enum http_refusal ws_handshake_check(const struct http_request *request);

/* The first of ours (in our order of preference) that the client offers; ptr NULL when there is
 * none. Names of subprotocols are compared with case. */
struct str ws_handshake_pick_protocol(const struct http_request *request, const struct str *ours,
                                      size_t count);

/* Writes the value of Sec-WebSocket-Accept for a key (RFC 6455 4.2.2), without a NUL.
 * Returns 0: nothing is allocated. */
int ws_handshake_accept(struct str key, char out_accept[WS_ACCEPT_LEN]);

/* Writes the 101 for a checked request; protocol and extensions may be empty. Returns its length,
 * or ERR_TOO_LARGE when cap is short. */
ssize_t ws_handshake_write(char *out, size_t cap, const struct http_request *request,
                           struct str protocol, struct str extensions);

/* 24 characters that decode to 16 bytes. */
bool ws_handshake_key_is_valid(struct str key);

#endif
