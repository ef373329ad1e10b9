/* The part of the schema that is about what is in front of and under HTTP: TLS, with the same keys
 * for each listener, and proxies. */
#include "app/config_schema.h"
#include "app/config_tls.h"

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define COUNT(structure, field) .count_offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const struct config_key certificate_keys[] = {
    {"certificate", CONFIG_CUSTOM, FIELD(settings_certificate, chain), .required = true,
     .read = config_tls_certificate_read,
     .help = "A file in PEM: the certificate, and behind it those that lead to its authority.",
     .example = "certs/push.example.com.pem"},
    {"key", CONFIG_CUSTOM, FIELD(settings_certificate, key), .required = true,
     .read = config_tls_key_read, .help = "A file with its key in PEM, without a password.",
     .example = "certs/push.example.com.key"},
};
static const struct config_map certificate_map = {.keys = certificate_keys,
                                                  .key_count = LENGTH(certificate_keys),
                                                  .size = sizeof(struct settings_certificate),
                                                  .finish = config_tls_certificate_finish};

static const char *const versions[] = {"1.2", "1.3", NULL};

static const struct config_key listener_keys[] = {
    {"certificates", CONFIG_MAPS, FIELD(settings_tls, certificates),
     COUNT(settings_tls, certificate_count), .max = 64, .map = &certificate_map,
     .help =
         "With one the listener speaks TLS. Of several the name that a client asks for chooses; "
         "the first is for all other names."},
    {"client_ca", CONFIG_CUSTOM, FIELD(settings_tls, client_ca), .read = config_tls_client_ca_read,
     .help = "A file in PEM: clients must show a certificate that one of these authorities signed.",
     .example = "certs/callers-ca.pem"},
    {"min_version", CONFIG_CHOICE, FIELD(settings_tls, min_version), .choices = versions,
     .help = "Clients of an older version of TLS are refused."},
};
static const struct config_map listener_map = {.keys = listener_keys,
                                               .key_count = LENGTH(listener_keys),
                                               .size = sizeof(struct settings_tls),
                                               .finish = config_tls_finish};

static const struct config_key tls_keys[] = {
    {"client", CONFIG_MAP, FIELD(settings_tls_of, client), .map = &listener_map,
     .help = "Of the client listener."},
    {"api", CONFIG_MAP, FIELD(settings_tls_of, api), .map = &listener_map,
     .help = "Of the API listener."},
    {"admin", CONFIG_MAP, FIELD(settings_tls_of, admin), .map = &listener_map,
     .help = "Of the admin listener."},
};
/* Offsets of the list of one listener. */
#define PROXIES(listener)                          \
    FIELD(settings_proxy_protocol, listener.from), \
        COUNT(settings_proxy_protocol, listener.from_count)

static const struct config_key proxy_protocol_keys[] = {
    {"client", CONFIG_TEXTS, PROXIES(client), .max = 64, .text = &config_text_prefix,
     .help = "Of the client listener: addresses of balancers, each of whose connections must begin "
             "with the header. From other addresses none is read.",
     .example = "[10.0.0.0/24]"},
    {"api", CONFIG_TEXTS, PROXIES(api), .max = 64, .text = &config_text_prefix,
     .help = "Of the API listener.", .example = "[10.0.0.0/24]"},
    {"admin", CONFIG_TEXTS, PROXIES(admin), .max = 64, .text = &config_text_prefix,
     .help = "Of the admin listener.", .example = "[10.0.0.0/24]"},
};
const struct config_map config_schema_proxy_protocol = {
    .keys = proxy_protocol_keys,
    .key_count = LENGTH(proxy_protocol_keys),
    .size = sizeof(struct settings_proxy_protocol)};

static const char *const headers[] = {"x-forwarded-for", "forwarded", NULL};

static const struct config_key forwarded_keys[] = {
    {"from", CONFIG_TEXTS, FIELD(settings_forwarded, from), COUNT(settings_forwarded, from_count),
     .max = 64, .text = &config_text_prefix,
     .help = "Addresses of proxies that are believed. The rightmost address in the header that is "
             "none of theirs is the client's.",
     .example = "[10.0.0.0/24]"},
    {"header", CONFIG_CHOICE, FIELD(settings_forwarded, header), .choices = headers,
     .help = "The one that these proxies set; the other is not read, since a client may send it."},
};
const struct config_map config_schema_forwarded = {.keys = forwarded_keys,
                                                   .key_count = LENGTH(forwarded_keys),
                                                   .size = sizeof(struct settings_forwarded)};

const struct config_map config_schema_tls = {
    .keys = tls_keys, .key_count = LENGTH(tls_keys), .size = sizeof(struct settings_tls_of)};
