/* The handshake of permessage-deflate (RFC 7692 7.1): Sec-WebSocket-Extensions offers read and
 * answered, by the server and by the client. Pure. */
#ifndef TIDEGATE_PROTO_WS_DEFLATE_OFFER_H
#define TIDEGATE_PROTO_WS_DEFLATE_OFFER_H

#include "base/str.h"

enum { WS_DEFLATE_ANSWER_MAX = 128 }; /* bytes, with the terminating NUL */

struct ws_deflate_choice {
    bool accepted;
    bool bits_asked;     /* the offer names server_max_window_bits, so the answer does */
    uint8_t window_bits; /* of what the server sends: 9 to 15 */
};

/* Server: takes the first offer it can fulfil out of the values of all Sec-WebSocket-Extensions
 * lines, in order. An offer with an unknown, repeated or bad parameter, or with
 * server_max_window_bits=8, is declined, other extensions are passed over. ERR_SYNTAX when a line
 * does not follow RFC 6455 9.1 (the handshake may be refused with 400); the choice is then "not
 * accepted". Always writes the choice. */
int ws_deflate_choose(struct ws_deflate_choice *out_choice, const struct str *lines, size_t count);

/* Server: the value of the answer's Sec-WebSocket-Extensions line, for an accepted choice: always
 * with server_no_context_takeover and client_no_context_takeover. Borrows from out. */
struct str ws_deflate_answer_write(char out[WS_DEFLATE_ANSWER_MAX],
                                   const struct ws_deflate_choice *choice);

/* Client: the value to offer; window_bits 9 to 15 limits what the server sends. */
struct str ws_deflate_offer_write(char out[WS_DEFLATE_ANSWER_MAX], int window_bits);

/* Client: reads the answer to that offer; an empty line is a refusal (not accepted, 0).
 * ERR_PROTOCOL when the server answered what was not offered or keeps its context. */
int ws_deflate_answer_read(struct ws_deflate_choice *out_choice, struct str line);

#endif
