/* TLS on one accepted, non-blocking socket. Reads and writes go straight between the socket and the
 * caller's memory: nothing is read ahead, so that with a level-triggered loop nothing can wait
 * unseen in here. An idle connection holds no buffer. One thread.
 * The process must ignore SIGPIPE. */
#ifndef TIDEGATE_NET_TLS_CONN_H
#define TIDEGATE_NET_TLS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/tls_context.h"

struct tls_conn; /* tls_conn.c */

enum {
    TLS_RECORD_BYTES = 16384, /* RFC 8446 5.1: reads with less room may leave something in here */
    /* What memory accounts hold one to cost, in MEM_TLS: when it idles, and before that. */
    TLS_CONN_BYTES = 14 * 1024 + 512,
    TLS_HANDSHAKE_BYTES = 32 * 1024,
};

/* The context needs to live no longer than this call. fd is borrowed: end it before the descriptor
 * is closed. 0 or ERR_NO_MEMORY. */
int tls_conn_create(struct tls_conn **out_conn, struct tls_context *context, int fd);

/* Says good-bye (close_notify) if it can be said at once, and frees it. NULL is fine. */
void tls_conn_destroy(struct tls_conn *conn);

/* Only says good-bye, before the socket is shut for writing. Nothing is written after it. */
void tls_conn_end_output(struct tls_conn *conn);

/* Before a session is made, which costs memory: 1 when the first record of a handshake is whole in
 * the socket, or what is there can't be one. -EAGAIN: it is not, and the socket is not ready again
 * before it is (SO_RCVLOWAT; TCP alone). 0: the peer ended it without
 * a byte, ERR_CLOSED: behind some. -errno. room: TLS_RECORD_BYTES or
 * more, to look with. */
int tls_conn_may_begin(int fd, uint8_t *room, size_t len);

/* 0: done; -EAGAIN: again when the socket is ready (to be written to, if tls_conn_wants_write);
 * another error: it failed, tls_conn_reason says how, and an alert is on its way where one can be.
 */
int tls_conn_handshake(struct tls_conn *conn);
bool tls_conn_is_open(const struct tls_conn *conn); /* the handshake is done */
bool tls_conn_wants_write(const struct tls_conn *conn);

/* The client came back with a ticket. */
bool tls_conn_is_resumed(const struct tls_conn *conn);

/* The bytes read, 0 at the peer's end, -EAGAIN, -errno, or ERR_PROTOCOL with a reason. */
ssize_t tls_conn_read(struct tls_conn *conn, void *data, size_t len);

/* The bytes of the parts that the kernel has, or -EAGAIN, -errno, ERR_PROTOCOL. Small parts leave
 * in one record. After -EAGAIN what is in tls_conn_held bytes is encrypted already: the next write
 * must begin with the same bytes. */
ssize_t tls_conn_write(struct tls_conn *conn, const struct iovec *parts, size_t count);
size_t tls_conn_held(const struct tls_conn *conn);

/* Of the last failure, a slug: "tls_closed" (the peer ended it), "tls_required" (plain HTTP came),
 * "tls_version", "tls_cipher", "tls_client_certificate", "tls_alert" (the peer refused us),
 * "tls_renegotiation" (too much of it, or of its like in TLS 1.3), "tls_protocol". */
const char *tls_conn_reason(const struct tls_conn *conn);

#endif
