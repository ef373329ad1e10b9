#include "server/listen_tls.h"

#include "base/err.h"
#include "base/mem.h"
#include "net/tls_context.h"

static int create_one(struct tls_context **out_context, const struct settings_tls *settings,
                      const char **out_problem)
{
    size_t count = settings->certificate_count;
    if (count == 0) {
        return 0;
    }
    struct tls_certificate *certificates = mem_zalloc(sizeof(*certificates) * count);
    if (!certificates) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        certificates[i].chain = settings->certificates[i].chain;
        certificates[i].key = settings->certificates[i].key;
    }
    struct tls_context_options options = {.certificates = certificates,
                                          .count = count,
                                          .client_ca = settings->client_ca,
                                          .only_1_3 = settings->min_version == SETTINGS_TLS_1_3};
    int err = tls_context_create(out_context, &options, out_problem);
    mem_free(certificates);
    return err;
}

int listen_tls_create(struct listen_tls *out_tls, const struct settings *settings,
                      const char **out_problem)
{
    struct listen_tls tls = {NULL, NULL, NULL};
    int err = create_one(&tls.client, &settings->tls.client, out_problem);
    err = err ? err : create_one(&tls.api, &settings->tls.api, out_problem);
    err = err ? err : create_one(&tls.admin, &settings->tls.admin, out_problem);
    if (err) {
        listen_tls_fini(&tls);
        return err;
    }
    *out_tls = tls;
    return 0;
}

static struct tls_context *ref_one(struct tls_context *context)
{
    return context ? tls_context_ref(context) : NULL;
}

struct listen_tls listen_tls_ref(const struct listen_tls *tls)
{
    return (struct listen_tls){ref_one(tls->client), ref_one(tls->api), ref_one(tls->admin)};
}

void listen_tls_fini(struct listen_tls *tls)
{
    tls_context_unref(tls->client);
    tls_context_unref(tls->api);
    tls_context_unref(tls->admin);
    *tls = (struct listen_tls){NULL, NULL, NULL};
}
