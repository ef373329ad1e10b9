/* The bare loop beneath both floors: one thread, one epoll, just enough HTTP/1.1 and RFC 6455 that
 * the load generator takes it for a gateway. No routes, no keys, no limits, no queues, no close
 * handshake: what it costs is the kernel's price, and nobody should serve anything with it.
 *
 * One port takes both kinds of connection. A GET becomes a WebSocket session; its
 * Sec-WebSocket-Accept is the one of RFC 6455's example key, the only key the load generator sends.
 * Anything else is a request: it goes to the hook with its body and is answered 202. Pipelined
 * requests are answered together. */
#ifndef TIDEGATE_BENCH_FLOOR_H
#define TIDEGATE_BENCH_FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FLOOR_MAX_DESCRIPTORS = 65536,
    FLOOR_MAX_REQUEST = 2 * 1024 * 1024, /* head and body; a longer one ends the run */
    FLOOR_MAX_FRAME_HEADER = 10,
};

/* A run of bytes inside the request; empty when text is NULL. */
struct floor_span {
    const char *text;
    size_t len;
};

struct floor_hooks {
    /* user is the number in "X-User-Id: uN", 0 without one. */
    void (*on_session)(int fd, uint32_t user);
    void (*on_session_closed)(int fd, uint32_t user);
    /* The spans hold until the hook returns. */
    void (*on_request)(struct floor_span path, struct floor_span body);
};

/* Serves on 127.0.0.1:port until killed. deflate accepts permessage-deflate without context. */
_Noreturn void floor_serve(uint16_t port, bool deflate, const struct floor_hooks *hooks);

/* Finds the next {...} behind "data": in text, from *at on, and moves *at behind it. The objects
 * of the load generator hold no braces inside, so the first closing one ends them. */
struct floor_span floor_next_data(struct floor_span text, size_t *at);

/* The payload of a request: the "data" of a JSON push, or the whole body of the raw forms. */
struct floor_span floor_payload(struct floor_span path, struct floor_span body);

/* Writes the header of an unmasked text frame and returns its length. */
size_t floor_frame_header(uint8_t out[FLOOR_MAX_FRAME_HEADER], size_t payload_len, bool compressed);

/* send() of all bytes; a socket that does not take them ends the run. */
void floor_send(int fd, const void *data, size_t len);

#endif
