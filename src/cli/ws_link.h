/* A client's WebSocket connection for a blocking program: opens it, sends whole messages, hands out
 * what comes. Pings are answered here. One thread. */
#ifndef TIDEGATE_CLI_WS_LINK_H
#define TIDEGATE_CLI_WS_LINK_H

#include "cli/conn.h"
#include "proto/ws_message.h"

struct ws_link; /* ws_link.c */

struct ws_link_request {
    const struct url *url;
    const char *ca_file; /* see conn_open */
    struct str target;   /* path and query */
    const char *token;   /* "": no Authorization header */
    struct str protocol; /* "": none is asked for */
};

/* Connects and upgrades. 0; ERR_DENIED with *out_status set when the server answers something else
 * than 101 (*out_status is 0 in all other cases: then ERR_DENIED is the certificate); what
 * conn_open returns; ERR_PROTOCOL, ERR_CLOSED, ERR_TIMEOUT, ERR_CANCELED. */
int ws_link_open(struct ws_link **out_link, const struct ws_link_request *request,
                 uint64_t deadline_ms, int *out_status);

/* Takes over a connection that was upgraded elsewhere; first: what came behind the 101. 0 or
 * ERR_NO_MEMORY; conn is then still the caller's. */
int ws_link_adopt(struct ws_link **out_link, struct conn *conn, struct str first);

/* Gives up the connection; when code is not 0 it says so first (RFC 6455 7.1.1) and waits for the
 * peer's answer for at most a second. NULL is fine. */
void ws_link_close(struct ws_link *link, uint16_t code);

/* The bytes are borrowed until it returns. 0 to go on, else the link stops. */
struct ws_link_events {
    int (*on_message)(void *owner, enum ws_opcode opcode, struct str payload);
    void (*on_ping)(void *owner); /* it is answered by itself; NULL is fine */
};

/* Waits for bytes once and hands out the messages in them. 0; ERR_TIMEOUT; ERR_CANCELED (the user
 * interrupts); ERR_CLOSED with *out_close the peer's code, or WS_CLOSE_NO_STATUS + 1 (1006) when it
 * was cut; WS_READER_STOPPED when on_message asked for it; what ws_reader_feed or -errno says.
 * After anything but 0 and ERR_TIMEOUT only ws_link_close is left to do. */
int ws_link_read(struct ws_link *link, const struct ws_link_events *events, void *owner,
                 uint64_t deadline_ms, uint16_t *out_close);

/* WS_TEXT, or WS_PING with at most 125 bytes. 0 or what conn_write says. */
int ws_link_send(struct ws_link *link, enum ws_opcode opcode, struct str payload,
                 uint64_t deadline_ms);

#endif
