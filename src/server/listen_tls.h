/* TLS of the three listeners, made of the settings by the main thread. */
#ifndef TIDEGATE_SERVER_LISTEN_TLS_H
#define TIDEGATE_SERVER_LISTEN_TLS_H

#include "core/settings.h"

struct tls_context;

/* Holds a reference to each. */
struct listen_tls {
    struct tls_context *client, *api, *admin; /* NULL: plain */
};

/* 0, ERR_NO_MEMORY, or ERR_SYNTAX with *out_problem (static): a certificate or key that the
 * configuration's reader should have refused. Nothing is held then. */
int listen_tls_create(struct listen_tls *out_tls, const struct settings *settings,
                      const char **out_problem);

/* References of one's own. */
struct listen_tls listen_tls_ref(const struct listen_tls *tls);
void listen_tls_fini(struct listen_tls *tls);

#endif
