/* One blocking client connection, plain or TLS, with a deadline for each call. Deadlines are of
 * clock_monotonic_ms(). One thread. */
#ifndef TIDEGATE_CLI_CONN_H
#define TIDEGATE_CLI_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/url.h"

struct conn; /* conn.c */

/* Looks the host up, connects to one of its addresses and, for https and wss, checks the
 * certificate against the host and the authorities in ca_file (PEM; NULL: the system's). 0;
 * ERR_SYNTAX (ca_file can't be read or holds none), ERR_NOT_FOUND (no such host),
 * -errno of the last address tried, ERR_TIMEOUT, ERR_CANCELED (interrupt.h), ERR_DENIED (the
 * certificate), ERR_PROTOCOL (no TLS there), ERR_NO_MEMORY. */
int conn_open(struct conn **out_conn, const struct url *url, const char *ca_file,
              uint64_t deadline_ms);

/* How far conn_open_telling came, and what it met: for who explains it. */
struct conn_story {
    enum conn_step { CONN_LOOK_UP, CONN_CONNECT, CONN_TLS, CONN_DONE } step;
    unsigned addresses;                /* that the name has */
    char address[64];                  /* that was connected to, or tried last */
    uint64_t connected_ms, secured_ms; /* how long these took */
    char tls_version[16];
    int64_t certificate_days; /* until it ends */
    const char *tls_problem;  /* of the certificate; static; NULL: none */
};

/* conn_open, with *out_story filled also on failure. */
int conn_open_telling(struct conn **out_conn, const struct url *url, const char *ca_file,
                      uint64_t deadline_ms, struct conn_story *out_story);

/* What a user can do about a failure of conn_open: a phrase without a full stop, static. */
const char *conn_advice(int err);

/* Takes over a connected stream socket. 0, ERR_NO_MEMORY or -errno; the fd is then still the
 * caller's. */
int conn_adopt(struct conn **out_conn, int fd);

/* NULL is fine. Does not wait for the peer. */
void conn_close(struct conn *conn);

/* Returns what came (1 to cap), 0 when the peer has ended its stream, ERR_TIMEOUT at the deadline,
 * ERR_CANCELED when the user interrupts, or -errno. */
ssize_t conn_read(struct conn *conn, void *data, size_t cap, uint64_t deadline_ms);

/* All of it. 0, ERR_TIMEOUT, ERR_CANCELED or -errno. */
int conn_write(struct conn *conn, const void *data, size_t len, uint64_t deadline_ms);

#endif
