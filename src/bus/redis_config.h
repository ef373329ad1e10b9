/* The options of the Redis engine, read and checked. Pure, but for files of TLS. */
#ifndef TIDEGATE_BUS_REDIS_CONFIG_H
#define TIDEGATE_BUS_REDIS_CONFIG_H

#include "bus/bus.h"
#include "bus/redis_url.h"

struct stream_tls;

enum { REDIS_MAX_HOSTS = 16, REDIS_NAME_MAX = 64 };

/* Indices into redis_config_options. */
enum redis_config_option {
    REDIS_OPTION_URL,
    REDIS_OPTION_MODE,
    REDIS_OPTION_NAME,
    REDIS_OPTION_REPLICAS,
    REDIS_OPTION_SENTINELS,
    REDIS_OPTION_SENTINEL_MASTER,
    REDIS_OPTION_SENTINEL_USER,
    REDIS_OPTION_SENTINEL_PASSWORD,
    REDIS_OPTION_TLS_CA,
    REDIS_OPTION_TLS_VERIFY,
    REDIS_OPTION_TLS_CERT,
    REDIS_OPTION_TLS_KEY,
    REDIS_OPTION_TIMEOUT,
    REDIS_CONFIG_OPTIONS,
};

enum redis_config_mode { REDIS_MODE_STREAMS, REDIS_MODE_PUBSUB };

struct redis_config {
    struct redis_url url;
    enum redis_config_mode mode;
    struct str name; /* begins each key; borrowed from the options */
    /* Who may be the master, the URL's host first; or who knows it. */
    struct redis_address hosts[1 + REDIS_MAX_HOSTS];
    uint32_t host_count;
    struct redis_address sentinels[REDIS_MAX_HOSTS];
    uint32_t sentinel_count;      /* 0: hosts are asked */
    struct str sentinel_master;   /* these are borrowed from the options */
    struct str sentinel_user;     /* "": the default user */
    struct str sentinel_password; /* "": no AUTH */
    uint64_t timeout_ms;          /* for an answer */
    struct stream_tls *tls;       /* owned; NULL: plain */
};

extern const struct bus_option redis_config_options[REDIS_CONFIG_OPTIONS];

/* 0; ERR_NO_MEMORY; or ERR_SYNTAX with *out_option and *out_problem as in bus_engine.check. */
int redis_config_init(struct redis_config *config, const struct bus_options *options,
                      size_t *out_option, const char **out_problem);
void redis_config_fini(struct redis_config *config);

#endif
