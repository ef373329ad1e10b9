/* The series of TLS. */
#include <math.h>
#include <stdatomic.h>

#include "net/tls_context.h"
#include "server/listen_tls.h"
#include "server/stats.h"
#include "server/stats_private.h"

static _Atomic int64_t expiries[3]; /* of client, api, admin; 0: plain */

void stats_tls_handshake(const char *listener, const char *result)
{
    metric_add(SERIES(tls_handshakes_total, listener, result), 1);
}

/* A listener that became plain has no end to tell: no alert may come of it. */
static double read_expiry(void *arg)
{
    int64_t expiry_s = atomic_load((const _Atomic int64_t *)arg);
    return expiry_s ? (double)expiry_s : NAN;
}

static void set_expiry(int index, const char *listener, const struct tls_context *context)
{
    atomic_store(&expiries[index], context ? tls_context_expiry_s(context) : 0);
    if (context) {
        struct metric *metric = SERIES(tls_certificate_expiry_timestamp_seconds, listener);
        metric_set_reader(metric, read_expiry, &expiries[index]);
    }
}

void stats_tls_certificates(const struct listen_tls *tls)
{
    set_expiry(0, "client", tls->client);
    set_expiry(1, "api", tls->api);
    set_expiry(2, "admin", tls->admin);
}
