/* A link that fails when a test says so: a proxy in front of a server, in a thread of its own, so
 * that it also works while the test's thread is busy or has no loop.
 *
 * Bytes in front of a fault are held, not lost, and so are ends of connections: behind a broken
 * network TCP would send them again. Every call has taken effect when it returns. One thread a
 * proxy calls these. */
#ifndef TIDEGATE_TESTS_BUS_FAULT_PROXY_H
#define TIDEGATE_TESTS_BUS_FAULT_PROXY_H

#include <stdbool.h>
#include <stdint.h>

struct fault_proxy; /* fault_proxy.c */

/* Addresses are IPv4 ("127.0.0.2"). port 0: a free one, see fault_proxy_port. 0 or -errno. */
int fault_proxy_start(struct fault_proxy **out_proxy, const char *host, uint16_t port,
                      const char *server_host, uint16_t server_port);
void fault_proxy_stop(struct fault_proxy *proxy); /* resets all connections; NULL is fine */

uint16_t fault_proxy_port(const struct fault_proxy *proxy);
uint64_t fault_proxy_accepted(struct fault_proxy *proxy); /* connections ever */

/* Nobody listens; connections that stand are left alone. */
void fault_proxy_refuse(struct fault_proxy *proxy);

/* New connections are accepted and hear nothing until it heals; those that stand are left alone. */
void fault_proxy_silence(struct fault_proxy *proxy);

/* Nothing is carried in the directions that are true, on all connections; the other is open. */
void fault_proxy_drop(struct fault_proxy *proxy, bool to_server, bool to_client);

/* New connections get bytes that no server says, a different kind each, and no server behind them;
 * those that stand are left alone. */
void fault_proxy_babble(struct fault_proxy *proxy);

/* All connections end with an RST, now. */
void fault_proxy_reset(struct fault_proxy *proxy);

/* The connections of this moment stay out of every fault until it heals: who is connected stays so,
 * while those who come later are cut off. */
void fault_proxy_spare(struct fault_proxy *proxy);

/* What comes from now on arrives so much later, in order, both ways. */
void fault_proxy_delay(struct fault_proxy *proxy, uint32_t delay_ms);

/* All is carried again, without delay, what was held first. 0, or -errno: the port can't be had
 * again. */
int fault_proxy_heal(struct fault_proxy *proxy);

#endif
