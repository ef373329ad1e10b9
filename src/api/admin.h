/* The admin listener, on the main thread: /livez, /readyz and /metrics, open to who can reach it;
 * the console (api/console.h), for who signs in; all else there needs a key with the scope admin.
 */
#ifndef TIDEGATE_API_ADMIN_H
#define TIDEGATE_API_ADMIN_H

#include "server/gateway.h"

struct admin; /* admin.c */
struct tls_context;

/* addr: port 0 picks one; see admin_addr. References to settings and tls (NULL: plain) are taken.
 * gateway is borrowed. */
int admin_create(struct admin **out_admin, struct loop *loop, const struct addr *addr,
                 struct gateway *gateway, const struct settings *settings, struct tls_context *tls);
void admin_destroy(struct admin *admin);
void admin_set_settings(struct admin *admin, const struct settings *settings,
                        struct tls_context *tls); /* NULL is fine */
void admin_addr(const struct admin *admin, struct addr *out_addr);

#endif
