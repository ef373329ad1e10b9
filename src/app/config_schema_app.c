/* The part of the schema that is inside lists: apps, their keys, and the cluster's secrets. */
#include "app/config_material.h"
#include "app/config_read.h"
#include "app/config_schema.h"
#include "core/session_policy.h"

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define COUNT(structure, field) .count_offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

static const struct config_key api_key_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_api_key, name), .required = true,
     .text = &config_text_name, .help = "Shown in logs.", .example = "web"},
    {"hash", CONFIG_CUSTOM, FIELD(settings_api_key, hash), .required = true,
     .read = config_hash_read,
     .help = "\"sha256:\" and the SHA-256 of the key in hex; tidegate key makes a key and prints "
             "it.",
     .example = "sha256:…"},
    {"scopes", CONFIG_CUSTOM, FIELD(settings_api_key, scopes), .required = true,
     .read = config_scopes_read,
     .help = "What it may do: a list of push, read, kick, ticket, monitor, admin.",
     .example = "[push, read]"},
};
static const struct config_map api_key_map = {.keys = api_key_keys,
                                              .key_count = LENGTH(api_key_keys),
                                              .size = sizeof(struct settings_api_key)};

static const char *const algs[] = {"auto", "HS256", "RS256", "ES256", "EdDSA", NULL};

static const struct config_key jwt_key_keys[] = {
    {"kid", CONFIG_TEXT, FIELD(settings_jwt_key, kid), .text = &config_text_any,
     .help = "The key's id in tokens; without it the key fits any token that names none.",
     .example = "2026-01"},
    {"alg", CONFIG_CHOICE, FIELD(settings_jwt_key, alg), .choices = algs,
     .help = "The one algorithm that this key verifies. auto: the one of the key's type.",
     .example = "auto"},
    {"secret", CONFIG_CUSTOM, .read = config_secret_read,
     .help = "HS256: the secret itself, 32 bytes or more. For tests; secret_file is safer.",
     .example = "…"},
    {"secret_file", CONFIG_CUSTOM, .read = config_secret_file_read,
     .help = "HS256: a file with the secret; one line end at its end doesn't count.",
     .example = "secrets/jwt"},
    {"pem", CONFIG_CUSTOM, .read = config_pem_read, .help = "A public key in PEM.",
     .example = "-----BEGIN PUBLIC KEY-----…"},
    {"pem_file", CONFIG_CUSTOM, .read = config_pem_file_read,
     .help = "A file with a public key in PEM.", .example = "keys/issuer.pem"},
    {"jwk", CONFIG_CUSTOM, .read = config_jwk_read, .help = "A JSON web key (RFC 7517), as a text.",
     .example = "{\"kty\": …}"},
    {"jwks_file", CONFIG_CUSTOM, .read = config_jwks_file_read,
     .help = "A file with a JSON web key set.", .example = "keys/jwks.json"},
    {"jwks_url", CONFIG_CUSTOM, FIELD(settings_jwt_key, url), .text = &config_text_url,
     .read = config_jwks_url_read, .help = "Where to fetch a JSON web key set.",
     .example = "https://login.example.com/.well-known/jwks.json"},
    {"refresh", CONFIG_TIME, FIELD(settings_jwt_key, refresh_ms), .min = 10 * 1000, .max = DAY,
     .help = "How often to fetch it (10m).", .example = "10m"},
};
static const struct config_map jwt_key_map = {.keys = jwt_key_keys,
                                              .key_count = LENGTH(jwt_key_keys),
                                              .size = sizeof(struct settings_jwt_key),
                                              .finish = config_jwt_key_finish};

static const struct config_key jwt_keys[] = {
    {"issuer", CONFIG_TEXT, FIELD(settings_jwt, issuer), .text = &config_text_any,
     .help = "What \"iss\" must say; \"\" doesn't look.", .example = "https://login.example.com"},
    {"audience", CONFIG_TEXT, FIELD(settings_jwt, audience), .text = &config_text_any,
     .help = "What \"aud\" must say or contain; \"\" doesn't look.", .example = "tidegate"},
    {"leeway", CONFIG_TIME, FIELD(settings_jwt, leeway_ms), .max = 10 * MINUTE, .zero = "none",
     .help = "For clocks that differ, when a token is first shown; a live session ends on time.",
     .example = "0"},
    {"max_life", CONFIG_TIME, FIELD(settings_jwt, max_life_ms), .min = MINUTE, .max = 45ull * DAY,
     .help = "From a token's issue to its expiry (30d). One that lives longer is refused, so that "
             "a revocation need not be kept for longer.",
     .example = "30d"},
    {"keys", CONFIG_MAPS, FIELD(settings_jwt, keys), COUNT(settings_jwt, key_count), .max = 32,
     .map = &jwt_key_map,
     .help = "Keys that tokens are verified with; each has one source. None: no tokens."},
};
static const struct config_map jwt_map = {
    .keys = jwt_keys, .key_count = LENGTH(jwt_keys), .size = sizeof(struct settings_jwt)};

static const struct config_key trusted_header_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_trusted_header, name), .text = &config_text_token,
     .help = "A header with the user's id, set by a proxy in front that has authenticated them.",
     .example = "X-User-Id"},
    {"from", CONFIG_TEXTS, FIELD(settings_trusted_header, from),
     COUNT(settings_trusted_header, from_count), .max = 64, .text = &config_text_prefix,
     .help = "Addresses of that proxy; from others the header is ignored.",
     .example = "[127.0.0.0/8]"},
};
static const struct config_map trusted_header_map = {.keys = trusted_header_keys,
                                                     .key_count = LENGTH(trusted_header_keys),
                                                     .size = sizeof(struct settings_trusted_header),
                                                     .finish = config_trusted_header_finish};

static const struct config_key auth_keys[] = {
    {"jwt", CONFIG_MAP, FIELD(settings_auth, jwt), .map = &jwt_map, .help = "Tokens (JWT)."},
    {"cookie", CONFIG_TEXT, FIELD(settings_auth, cookie), .text = &config_text_token,
     .help = "A cookie that carries the token; \"\" for none. Needs origins.",
     .example = "session"},
    {"trusted_header", CONFIG_MAP, FIELD(settings_auth, trusted_header), .map = &trusted_header_map,
     .help = "Users named by a proxy in front."},
    {"anonymous", CONFIG_BOOL, FIELD(settings_auth, anonymous),
     .help = "Let clients in that show nothing; they are nobody's sessions.", .example = "false"},
};
static const struct config_map auth_map = {.keys = auth_keys,
                                           .key_count = LENGTH(auth_keys),
                                           .size = sizeof(struct settings_auth),
                                           .finish = config_auth_finish};

static const struct config_key groups_keys[] = {
    {"join", CONFIG_TEXTS, FIELD(settings_app, join_patterns),
     COUNT(settings_app, join_pattern_count), .max = 256, .text = &config_text_pattern,
     .help = "What a client may join by itself; other groups need a token that names them, or the "
             "API.",
     .example = "[\"room:*\"]"},
};
static const struct config_map groups_map = {
    .keys = groups_keys, .key_count = LENGTH(groups_keys), .size = sizeof(struct settings_app)};

static const struct config_key webhook_secret_keys[] = {
    {"file", CONFIG_CUSTOM, .read = config_cluster_file_read,
     .help = "A file with the secret, 32 bytes or more; one line end at its end doesn't count.",
     .example = "secrets/webhook"},
    {"secret", CONFIG_CUSTOM, .read = config_cluster_secret_read,
     .help = "The secret itself. For tests; file is safer.", .example = "…"},
};
static const struct config_map webhook_secret_map = {.keys = webhook_secret_keys,
                                                     .key_count = LENGTH(webhook_secret_keys),
                                                     .size = sizeof(struct settings_secret),
                                                     .finish = config_webhook_secret_finish};

static const struct config_key webhook_keys[] = {
    {"url", CONFIG_TEXT, FIELD(settings_webhook, url), .required = true, .text = &config_text_web,
     .help = "Where events are posted to.", .example = "https://app.example.com/hooks/tidegate"},
    {"events", CONFIG_CUSTOM, FIELD(settings_webhook, events), .required = true,
     .read = config_events_read,
     .help = "What it is told: a list of session.opened, session.closed, user.online, "
             "user.offline, message.undelivered, client.message.",
     .example = "[session.opened, session.closed]"},
    {"secrets", CONFIG_MAPS, FIELD(settings_webhook, secrets),
     COUNT(settings_webhook, secret_count), .required = true, .max = 2, .map = &webhook_secret_map,
     .help = "Sign what is sent; two at once for a rotation. One that begins with whsec_ is Base64 "
             "behind that."},
    {"allow", CONFIG_TEXTS, FIELD(settings_webhook, allow), COUNT(settings_webhook, allow_count),
     .max = 64, .text = &config_text_prefix,
     .help = "Addresses that the URL may lead to beside those of the public Internet.",
     .example = "[10.1.0.0/16]"},
    {"timeout", CONFIG_TIME, FIELD(settings_webhook, timeout_ms), .min = 100, .max = 5 * MINUTE,
     .help = "For one request, name look-up included (10s).", .example = "10s"},
    {"give_up", CONFIG_TIME, FIELD(settings_webhook, give_up_ms), .min = 1000, .max = 7 * DAY,
     .help = "An event that is older is not tried again, and is a dead letter (1h).",
     .example = "1h"},
};
static const struct config_map webhook_map = {.keys = webhook_keys,
                                              .key_count = LENGTH(webhook_keys),
                                              .size = sizeof(struct settings_webhook),
                                              .finish = config_webhook_finish};

static const char *const excesses[] = {"reject", "oldest", "same_device", NULL};

static const struct config_key sessions_keys[] = {
    {"per_user", CONFIG_COUNT, FIELD(settings_sessions, per_user), .max = SESSION_POLICY_MAX,
     .zero = "no limit", .help = "Sessions that a user may have, on all nodes together.",
     .example = "0"},
    {"per_device", CONFIG_COUNT, FIELD(settings_sessions, per_device), .max = SESSION_POLICY_MAX,
     .zero = "no limit",
     .help = "Of these, sessions whose hello names the same device. 1 with same_device.",
     .example = "0"},
    {"on_excess", CONFIG_CHOICE, FIELD(settings_sessions, on_excess), .choices = excesses,
     .help = "Who goes: reject, the one that comes (4005); oldest, the oldest one (4001); "
             "same_device, the older one of the same device, and without one who comes.",
     .example = "reject"},
};
static const struct config_map sessions_map = {.keys = sessions_keys,
                                               .key_count = LENGTH(sessions_keys),
                                               .size = sizeof(struct settings_sessions),
                                               .finish = config_sessions_finish};

static const struct config_key quotas_keys[] = {
    {"pushes_per_second", CONFIG_COUNT, FIELD(settings_quotas, pushes_per_second), .max = 10000000,
     .zero = "no limit",
     .help =
         "Messages that the app may push to this node, on average; each of a batch counts, and so "
         "do cancels, joins, parts and kicks. Over "
         "it: status 429.",
     .example = "1000"},
    {"push_burst", CONFIG_COUNT, FIELD(settings_quotas, push_burst), .max = 10000000,
     .zero = "a second's worth", .help = "Messages that may come at once before that counts.",
     .example = "5000"},
    {"sessions", CONFIG_COUNT, FIELD(settings_quotas, sessions), .max = 100000000,
     .zero = "no limit",
     .help = "Sessions that the app may have on this node. Over it a connect gets status 429.",
     .example = "20000"},
};
static const struct config_map quotas_map = {
    .keys = quotas_keys, .key_count = LENGTH(quotas_keys), .size = sizeof(struct settings_quotas)};

static const struct config_key presence_keys[] = {
    {"enabled", CONFIG_BOOL, FIELD(settings_presence, enabled),
     .help =
         "Follow who is online, with a grace time. On, too, where a webhook asks for user.online "
         "or user.offline.",
     .example = "false"},
    {"grace", CONFIG_TIME, FIELD(settings_presence, grace_ms), .max = HOUR, .zero = "none",
     .help = "A user without a session is online for so long: a reload is no change (10s).",
     .example = "10s"},
};
static const struct config_map presence_map = {.keys = presence_keys,
                                               .key_count = LENGTH(presence_keys),
                                               .size = sizeof(struct settings_presence)};

static const struct config_key app_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_app, name), .required = true, .text = &config_text_name,
     .help = "Appears in metrics and logs.", .example = "demo"},
    {"api_keys", CONFIG_MAPS, FIELD(settings_app, api_keys), COUNT(settings_app, api_key_count),
     .max = 32, .map = &api_key_map,
     .help = "Who may push and ask; several are valid at once, for a rotation."},
    {"auth", CONFIG_MAP, FIELD(settings_app, auth), .map = &auth_map,
     .help = "How a client says who it is."},
    {"origins", CONFIG_TEXTS, FIELD(settings_app, origins), COUNT(settings_app, origin_count),
     .max = 256, .text = &config_text_origin,
     .help = "Pages that may connect; \"*\" for all. Clients that are no browsers have no origin.",
     .example = "[\"https://www.example.com\"]"},
    {"sessions", CONFIG_MAP, FIELD(settings_app, sessions), .map = &sessions_map,
     .help = "How many sessions a user may have, in the whole cluster."},
    {"groups", CONFIG_MAP, .offset = 0, .map = &groups_map, .help = "Rules for groups."},
    {"presence", CONFIG_MAP, FIELD(settings_app, presence), .map = &presence_map,
     .help = "Whether and how users are followed."},
    {"webhooks", CONFIG_MAPS, FIELD(settings_app, webhooks), COUNT(settings_app, webhook_count),
     .max = 8, .map = &webhook_map, .help = "Where the app is told what happens, by HTTP."},
    {"quotas", CONFIG_MAP, FIELD(settings_app, quotas), .map = &quotas_map,
     .help = "What the app may use of each node, so that the others keep their part."},
    {"metrics", CONFIG_MAP, FIELD(settings_app, metrics), .map = &config_schema_metrics,
     .help = "What is counted of its pushes beside what is of all."},
};
const struct config_map config_schema_app = {.keys = app_keys,
                                             .key_count = LENGTH(app_keys),
                                             .size = sizeof(struct settings_app),
                                             .finish = config_app_finish};

static const struct config_key secret_keys[] = {
    {"id", CONFIG_TEXT, FIELD(settings_secret, id), .required = true, .text = &config_text_name,
     .help = "Goes into what is signed, so that it is found again.", .example = "a"},
    {"file", CONFIG_CUSTOM, .read = config_cluster_file_read,
     .help = "A file with the secret, 32 bytes or more; one line end at its end doesn't count.",
     .example = "secrets/cluster"},
    {"secret", CONFIG_CUSTOM, .read = config_cluster_secret_read,
     .help = "The secret itself. For tests; file is safer.", .example = "…"},
};
const struct config_map config_schema_secrets = {.keys = secret_keys,
                                                 .key_count = LENGTH(secret_keys),
                                                 .size = sizeof(struct settings_secret),
                                                 .finish = config_cluster_secret_finish};
