#include "app/config_tls.h"

#include "app/config_read.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/tls_context.h"

enum { DAY_S = 24 * 60 * 60, WARN_BEFORE_S = 14 * DAY_S };

/* What a file must hold is looked at when its other half has been read. */
static const char *accept(struct str text)
{
    return text.len > 0 ? NULL : "the file is empty";
}

void config_tls_certificate_read(struct config_reader *reader, const struct config_key *key,
                                 const struct config_node *node, void *object)
{
    struct settings_certificate *certificate = object;
    if (node->kind == CONFIG_NODE_SCALAR) {
        certificate->file = config_read_copy(reader, node->text);
    }
    config_file_take(reader, node, accept, &certificate->chain);
}

void config_tls_key_read(struct config_reader *reader, const struct config_key *key,
                         const struct config_node *node, void *object)
{
    struct settings_certificate *certificate = object;
    config_secret_file_take(reader, node, accept, &certificate->key);
}

static void tell_result(struct config_reader *reader, const struct config_node *node, int err,
                        const char *problem)
{
    if (err == ERR_NO_MEMORY) {
        reader->err = err;
    } else if (err) {
        config_read_mistake(reader, node->place, "%s", problem);
    }
}

static void warn_of_end(struct config_reader *reader, const struct config_node *node,
                        const struct tls_validity *validity)
{
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    int64_t left_s = validity->until_s - now_s;
    if (left_s < 0) {
        config_read_warning(reader, node->place, "the certificate expired %lld days ago",
                            (long long)(-left_s / DAY_S));
    } else if (validity->from_s > now_s) {
        config_read_warning(reader, node->place, "the certificate is not valid yet");
    } else if (left_s < WARN_BEFORE_S) {
        config_read_warning(reader, node->place, "the certificate expires in %lld days",
                            (long long)(left_s / DAY_S));
    }
}

void config_tls_certificate_finish(struct config_reader *reader, const struct config_node *node,
                                   void *object)
{
    const struct settings_certificate *settings = object;
    struct tls_certificate certificate = {settings->chain, settings->key};
    struct tls_validity validity;
    const char *problem = NULL;
    if (certificate.chain.len == 0 || certificate.key.len == 0) {
        return; /* told already */
    }
    int err = tls_certificate_check(&certificate, &validity, &problem);
    tell_result(reader, node, err, problem);
    if (!err) {
        warn_of_end(reader, node, &validity);
    }
}

void config_tls_client_ca_read(struct config_reader *reader, const struct config_key *key,
                               const struct config_node *node, void *object)
{
    struct settings_tls *tls = object;
    const char *problem = NULL;
    config_file_take(reader, node, accept, &tls->client_ca);
    if (tls->client_ca.len > 0) {
        int err = tls_authorities_check(tls->client_ca, &problem);
        tell_result(reader, node, err, problem);
    }
}

void config_tls_finish(struct config_reader *reader, const struct config_node *node, void *object)
{
    const struct settings_tls *tls = object;
    if (tls->client_ca.len > 0 && tls->certificate_count == 0) {
        config_read_mistake(reader, node->place, "\"client_ca\" needs \"certificates\"");
    }
}
