#include "bus/redis_config.h"

#include "base/err.h"
#include "net/stream.h"

static const char *const modes[] = {"streams", "pubsub", NULL};

const struct bus_option redis_config_options[REDIS_CONFIG_OPTIONS] = {
    [REDIS_OPTION_URL] = {.name = "url",
                          .type = BUS_OPTION_SECRET,
                          .required = true,
                          .help = "Where Redis is and who the gateway is there: "
                                  "`redis://user:password@host:port/db`, `rediss://` for TLS.",
                          .example = "redis://127.0.0.1:6379/0"},
    [REDIS_OPTION_MODE] =
        {.name = "mode",
         .type = BUS_OPTION_CHOICE,
         .initial = "streams",
         .choices = modes,
         .help = "`streams` keeps the window in Redis; `pubsub` keeps nothing, and "
                 "what passes while the link is down is a gap."},
    [REDIS_OPTION_NAME] = {.name = "name",
                           .type = BUS_OPTION_TEXT,
                           .initial = "tidegate",
                           .help = "Begins the names of all keys; one for each cluster."},
    [REDIS_OPTION_REPLICAS] = {.name = "replicas",
                               .type = BUS_OPTION_TEXTS,
                               .max = REDIS_MAX_HOSTS,
                               .help = "Servers (`host:port`) that may become the master, without "
                                       "Sentinel: the one that says it is the master is used.",
                               .example = "[\"10.0.0.2:6379\"]"},
    [REDIS_OPTION_SENTINELS] =
        {.name = "sentinels",
         .type = BUS_OPTION_TEXTS,
         .max = REDIS_MAX_HOSTS,
         .help = "Sentinels (`host:port`), which know the master; the host of "
                 "`bus.url` is not used then.",
         .example = "[\"10.0.0.1:26379\", \"10.0.0.2:26379\"]"},
    [REDIS_OPTION_SENTINEL_MASTER] = {.name = "sentinel_master",
                                      .type = BUS_OPTION_TEXT,
                                      .help = "The master's name among Sentinels.",
                                      .example = "mymaster"},
    [REDIS_OPTION_SENTINEL_USER] = {.name = "sentinel_user",
                                    .type = BUS_OPTION_TEXT,
                                    .help = "The user at the Sentinels, when they have users.",
                                    .example = "tidegate"},
    [REDIS_OPTION_SENTINEL_PASSWORD] =
        {.name = "sentinel_password",
         .type = BUS_OPTION_SECRET,
         .help = "The password at the Sentinels, when they want one."},
    [REDIS_OPTION_TLS_CA] =
        {.name = "tls_ca",
         .type = BUS_OPTION_FILE,
         .initial = "",
         .help = "A file of certificates that may sign the server's; \"\" takes "
                 "those of the system."},
    [REDIS_OPTION_TLS_VERIFY] = {.name = "tls_verify",
                                 .type = BUS_OPTION_BOOL,
                                 .initial = "true",
                                 .help = "Whether the server's certificate and name are checked."},
    [REDIS_OPTION_TLS_CERT] =
        {.name = "tls_cert",
         .type = BUS_OPTION_FILE,
         .initial = "",
         .help = "A file with the gateway's own certificate, for servers that ask."},
    [REDIS_OPTION_TLS_KEY] = {.name = "tls_key",
                              .type = BUS_OPTION_FILE,
                              .initial = "",
                              .help = "The file with its key."},
    [REDIS_OPTION_TIMEOUT] = {.name = "timeout",
                              .type = BUS_OPTION_TIME,
                              .initial = "3s",
                              .min = 100,
                              .max = 60000,
                              .help = "A server that does not answer for so long is left."},
};

/* What is wrong, or NULL; *option starts as the one looked at. */
typedef const char *(*part_reader)(struct redis_config *config, const struct bus_value *values,
                                   size_t *option);

static const char *read_url(struct redis_config *config, const struct bus_value *values,
                            size_t *option)
{
    const char *problem = NULL;
    *option = REDIS_OPTION_URL;
    redis_url_parse(&config->url, values[REDIS_OPTION_URL].text, &problem);
    return problem;
}

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] <= ' ' || name.ptr[i] > '~') {
            return false;
        }
    }
    return name.len > 0 && name.len <= REDIS_NAME_MAX;
}

static const char *read_name(struct redis_config *config, const struct bus_value *values,
                             size_t *option)
{
    *option = REDIS_OPTION_NAME;
    config->mode = (enum redis_config_mode)values[REDIS_OPTION_MODE].number;
    config->timeout_ms = values[REDIS_OPTION_TIMEOUT].number;
    config->name = values[REDIS_OPTION_NAME].text;
    return is_name(config->name) ? NULL : "must be 1 to 64 printable characters without spaces";
}

static const char *read_hosts(struct redis_address *out_hosts, uint32_t *out_count,
                              const struct bus_value *value, uint16_t port)
{
    if (value->text_count > REDIS_MAX_HOSTS) {
        return "may have at most 16 items";
    }
    for (size_t i = 0; i < value->text_count; i++) {
        if (redis_address_parse(&out_hosts[(*out_count)++], value->texts[i], port)) {
            return "must be a list of host:port (IPv6 in brackets)";
        }
    }
    return NULL;
}

static const char *read_replicas(struct redis_config *config, const struct bus_value *values,
                                 size_t *option)
{
    *option = REDIS_OPTION_REPLICAS;
    config->hosts[config->host_count++] = config->url.address;
    return read_hosts(config->hosts, &config->host_count, &values[REDIS_OPTION_REPLICAS],
                      REDIS_PORT);
}

static const char *read_sentinels(struct redis_config *config, const struct bus_value *values,
                                  size_t *option)
{
    *option = REDIS_OPTION_SENTINELS;
    const char *problem = read_hosts(config->sentinels, &config->sentinel_count,
                                     &values[REDIS_OPTION_SENTINELS], REDIS_SENTINEL_PORT);
    if (problem) {
        return problem;
    }
    config->sentinel_master = values[REDIS_OPTION_SENTINEL_MASTER].text;
    config->sentinel_user = values[REDIS_OPTION_SENTINEL_USER].text;
    config->sentinel_password = values[REDIS_OPTION_SENTINEL_PASSWORD].text;
    if (config->sentinel_count > 0 && values[REDIS_OPTION_REPLICAS].text_count > 0) {
        return "and bus.replicas exclude each other";
    }
    *option = REDIS_OPTION_SENTINEL_MASTER;
    if ((config->sentinel_count > 0) != (config->sentinel_master.len > 0)) {
        return "and bus.sentinels need each other";
    }
    *option = REDIS_OPTION_SENTINEL_USER;
    bool is_half = config->sentinel_user.len > 0 && config->sentinel_password.len == 0;
    return is_half ? "needs bus.sentinel_password" : NULL;
}

static bool has_tls_option(const struct bus_value *values)
{
    return values[REDIS_OPTION_TLS_CA].text.len || values[REDIS_OPTION_TLS_CERT].text.len ||
           values[REDIS_OPTION_TLS_KEY].text.len;
}

static struct str file_name(const struct bus_value *value)
{
    return value->text.ptr ? value->text : STR("");
}

static const char *read_tls(struct redis_config *config, const struct bus_value *values,
                            size_t *option)
{
    *option = REDIS_OPTION_URL;
    if (!config->url.tls) {
        return has_tls_option(values) ? "must begin with rediss:// when there are tls_ options"
                                      : NULL;
    }
    *option = REDIS_OPTION_TLS_CERT;
    if (!values[REDIS_OPTION_TLS_CERT].text.len != !values[REDIS_OPTION_TLS_KEY].text.len) {
        return "and bus.tls_key need each other";
    }
    const char *problem = NULL;
    *option = values[REDIS_OPTION_TLS_CERT].text.len ? REDIS_CONFIG_OPTIONS : REDIS_OPTION_TLS_CA;
    int err = stream_tls_create(&config->tls, file_name(&values[REDIS_OPTION_TLS_CA]),
                                values[REDIS_OPTION_TLS_VERIFY].number != 0,
                                file_name(&values[REDIS_OPTION_TLS_CERT]),
                                file_name(&values[REDIS_OPTION_TLS_KEY]), &problem);
    if (!err) {
        return NULL;
    }
    return problem ? problem : err_str(err);
}

int redis_config_init(struct redis_config *config, const struct bus_options *options,
                      size_t *out_option, const char **out_problem)
{
    static const part_reader parts[] = {read_url, read_name, read_replicas, read_sentinels,
                                        read_tls};
    memset(config, 0, sizeof(*config));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t option = 0;
        const char *problem = parts[i](config, options->values, &option);
        if (problem) {
            redis_config_fini(config);
            *out_option = option;
            *out_problem = problem;
            return ERR_SYNTAX;
        }
    }
    return 0;
}

void redis_config_fini(struct redis_config *config)
{
    stream_tls_unref(config->tls);
    config->tls = NULL;
    explicit_bzero(config->url.password, sizeof(config->url.password));
}
