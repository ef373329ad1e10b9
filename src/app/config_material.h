/* The readers of the schema's own kinds (hashes, scopes, keys and secrets with their files), and
 * the rules between the keys of one map. The shapes are those of config_key.read and
 * config_map.finish.
 */
#ifndef TIDEGATE_APP_CONFIG_MATERIAL_H
#define TIDEGATE_APP_CONFIG_MATERIAL_H

#include <stdint.h>

#include "base/str.h"

struct config_reader;
struct config_key;
struct config_node;

typedef void config_read_fn(struct config_reader *reader, const struct config_key *key,
                            const struct config_node *node, void *object);
typedef void config_finish_fn(struct config_reader *reader, const struct config_node *node,
                              void *object);

/* object: struct settings_api_key */
config_read_fn config_hash_read;
config_read_fn config_scopes_read;

/* A list of names that parse knows, as bits; expected completes "a list of …". */
void config_bits_read(struct config_reader *reader, const struct config_node *node,
                      uint32_t (*parse)(struct str name), const char *expected, uint32_t *out_bits);

/* object: struct settings_jwt_key. Files are read at once; a mistake never quotes what is in them.
 */
config_read_fn config_secret_read;
config_read_fn config_secret_file_read;
config_read_fn config_pem_read;
config_read_fn config_pem_file_read;
config_read_fn config_jwk_read;
config_read_fn config_jwks_file_read;
config_read_fn config_jwks_url_read;
config_finish_fn config_jwt_key_finish; /* one source, an algorithm that fits it */

/* The text of the file that node names, without its line end, goes to *out_secret when check finds
 * nothing wrong with it; check returns what to say else, without the secret. */
typedef const char *config_check_fn(struct str text);
void config_secret_file_take(struct config_reader *reader, const struct config_node *node,
                             config_check_fn *check, struct str *out_secret);

/* The same of a file that is no secret: all of its text, whoever may read it. */
void config_file_take(struct config_reader *reader, const struct config_node *node,
                      config_check_fn *check, struct str *out_text);

/* object: struct settings_secret */
config_read_fn config_cluster_file_read;
config_read_fn config_cluster_secret_read;
config_finish_fn config_cluster_secret_finish;

/* config_webhook.c; object: struct settings_webhook, and struct settings_secret for a secret */
config_read_fn config_events_read;
config_finish_fn config_webhook_secret_finish;
config_finish_fn config_webhook_finish;

/* config_metrics.c; object: struct settings_custom, its label, and struct settings_metrics */
config_read_fn config_scale_read;
config_read_fn config_buckets_read;
config_finish_fn config_custom_label_finish;
config_finish_fn config_custom_finish;
config_finish_fn config_metrics_finish;

/* config_app_rules.c */
config_finish_fn config_trusted_header_finish;
config_finish_fn config_auth_finish;
config_finish_fn config_sessions_finish;
config_finish_fn config_app_finish;

#endif
