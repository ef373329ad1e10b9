/* What can be said about the engine in the configuration, and what of it makes sense. */
#include "base/err.h"
#include "bus/rocketmq_private.h"

enum { MAX_FAILOVER_MS = 10 * 60 * 1000 };

const struct bus_option rocketmq_options[ROCKETMQ_OPTIONS] = {
    [ROCKETMQ_OPTION_NAME_SERVERS] = {.name = "name_servers",
                                      .type = BUS_OPTION_TEXTS,
                                      .required = true,
                                      .min = 1,
                                      .max = ROCKETMQ_MAX_NAME_SERVERS,
                                      .help = "Name servers; the next one is asked when one fails.",
                                      .example = "[\"127.0.0.1:9876\"]"},
    [ROCKETMQ_OPTION_TOPIC] =
        {.name = "topic",
         .type = BUS_OPTION_TEXT,
         .initial = "tidegate",
         .help = "The topic that carries the events; made when it is missing. The same on "
                 "every node."},
    [ROCKETMQ_OPTION_BROKERS] =
        {.name = "brokers",
         .type = BUS_OPTION_TEXTS,
         .required = true,
         .min = 1,
         .max = ROCKETMQ_MAX_BROKERS,
         .help = "Names of the master brokers that share the queues. The same on every "
                 "node, in the same order.",
         .example = "[broker-a, broker-b]"},
    [ROCKETMQ_OPTION_FAILOVER_AFTER] =
        {.name = "failover_after",
         .type = BUS_OPTION_TIME,
         .initial = "5s",
         .min = 1000,
         .max = MAX_FAILOVER_MS,
         .zero = "never: strict order, and 503 while a broker is away",
         .help = "A broker that is away for so long hands its keys to the others."},
    [ROCKETMQ_OPTION_ACCESS_KEY] = {.name = "access_key",
                                    .type = BUS_OPTION_TEXT,
                                    .help = "User at the brokers, when they ask for one.",
                                    .example = "tidegate"},
    [ROCKETMQ_OPTION_SECRET_KEY] = {.name = "secret_key",
                                    .type = BUS_OPTION_SECRET,
                                    .help = "The user's secret.",
                                    .example = "…"},
    [ROCKETMQ_OPTION_TLS] = {.name = "tls",
                             .type = BUS_OPTION_BOOL,
                             .initial = "false",
                             .help = "TLS to name servers and brokers."},
    [ROCKETMQ_OPTION_TLS_CA] =
        {.name = "tls_ca",
         .type = BUS_OPTION_FILE,
         .help = "File of the authorities that signed their certificates; the system's when "
                 "it is not set.",
         .example = "/etc/tidegate/rocketmq-ca.pem"},
    [ROCKETMQ_OPTION_TLS_VERIFY] =
        {.name = "tls_verify",
         .type = BUS_OPTION_BOOL,
         .initial = "true",
         .help = "Whether certificates are looked at; false for servers that sign "
                 "their own."},
};

static bool is_name(struct str name, size_t max)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        bool is_alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!is_alnum && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return name.len > 0 && name.len <= max;
}

/* Topics have no dots. */
static bool is_topic(struct str topic)
{
    return is_name(topic, ROCKETMQ_TOPIC_MAX) && !memchr(topic.ptr, '.', topic.len);
}

static const char *check_name_servers(const struct bus_value *servers)
{
    for (size_t i = 0; i < servers->text_count; i++) {
        struct str host;
        uint16_t port;
        if (rocketmq_address_parse(servers->texts[i], &host, &port)) {
            return "must be addresses like \"10.0.0.1:9876\"";
        }
    }
    return servers->text_count == 0                          ? "must name at least one"
           : servers->text_count > ROCKETMQ_MAX_NAME_SERVERS ? "has more than 16"
                                                             : NULL;
}

static const char *check_brokers(const struct bus_value *brokers, uint32_t queues)
{
    if (brokers->text_count == 0) {
        return "must name at least one";
    }
    if (brokers->text_count > queues) {
        return "are more than there are queues (bus.queues)";
    }
    for (size_t i = 0; i < brokers->text_count; i++) {
        if (!is_name(brokers->texts[i], ROCKETMQ_HOST_MAX)) {
            return "must be names of brokers (brokerName in their configuration), not addresses";
        }
        for (size_t j = 0; j < i; j++) {
            if (str_equal(brokers->texts[i], brokers->texts[j])) {
                return "names a broker twice";
            }
        }
    }
    return NULL;
}

static const char *check_option(const struct bus_options *options, size_t option)
{
    const struct bus_value *values = options->values;
    switch (option) {
    case ROCKETMQ_OPTION_NAME_SERVERS:
        return check_name_servers(&values[ROCKETMQ_OPTION_NAME_SERVERS]);
    case ROCKETMQ_OPTION_TOPIC:
        return is_topic(values[ROCKETMQ_OPTION_TOPIC].text)
                   ? NULL
                   : "must be 1 to 100 letters, digits, hyphens and underscores";
    case ROCKETMQ_OPTION_BROKERS:
        return check_brokers(&values[ROCKETMQ_OPTION_BROKERS], options->queues);
    case ROCKETMQ_OPTION_ACCESS_KEY:
        return values[ROCKETMQ_OPTION_ACCESS_KEY].text.len > 0 &&
                       values[ROCKETMQ_OPTION_SECRET_KEY].text.len == 0
                   ? "needs a secret_key"
                   : NULL;
    case ROCKETMQ_OPTION_SECRET_KEY:
        return values[ROCKETMQ_OPTION_SECRET_KEY].text.len > 0 &&
                       values[ROCKETMQ_OPTION_ACCESS_KEY].text.len == 0
                   ? "needs an access_key"
                   : NULL;
    case ROCKETMQ_OPTION_TLS_CA:
        return values[ROCKETMQ_OPTION_TLS_CA].text.len > 0 && !values[ROCKETMQ_OPTION_TLS].number
                   ? "needs tls: true"
                   : NULL;
    default: return NULL;
    }
}

int rocketmq_options_check(const struct bus_options *options, size_t *out_option,
                           const char **out_problem)
{
    for (size_t i = 0; i < ROCKETMQ_OPTIONS; i++) {
        const char *problem = check_option(options, i);
        if (problem) {
            if (out_option) {
                *out_option = i;
            }
            if (out_problem) {
                *out_problem = problem;
            }
            return ERR_SYNTAX;
        }
    }
    return 0;
}
