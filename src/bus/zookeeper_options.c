#include "base/err.h"
#include "bus/zookeeper_private.h"
#include "proto/uri.h"

enum { DEFAULT_PORT = 2181, HOST_MAX = 253 };

const struct bus_option zk_options[ZK_OPTION_COUNT] = {
    [ZK_SERVERS] = {.name = "servers",
                    .type = BUS_OPTION_TEXTS,
                    .required = true,
                    .min = 1,
                    .max = ZK_SERVERS_MAX,
                    .help = "The ensemble's servers, `host:port` each (port 2181 if left out).",
                    .example = "[\"zk-1:2181\", \"zk-2:2181\", \"zk-3:2181\"]"},
    [ZK_PATH] = {.name = "path",
                 .type = BUS_OPTION_TEXT,
                 .initial = "/tidegate",
                 .help = "The node under which everything is kept; one for each cluster."},
    [ZK_AUTH] = {.name = "auth",
                 .type = BUS_OPTION_SECRET,
                 .help = "`digest:user:password`: what is made is then closed to everybody else.",
                 .example = "\"digest:tidegate:…\""},
    [ZK_SESSION_TIMEOUT] = {.name = "session_timeout",
                            .type = BUS_OPTION_TIME,
                            .initial = "10s",
                            .min = 1000,
                            .max = 120000,
                            .help = "After two thirds of it a silent server is given up."},
    [ZK_BUCKET_RECORDS] = {.name = "bucket_records",
                           .type = BUS_OPTION_COUNT,
                           .initial = "2000",
                           .min = 10,
                           .max = 20000,
                           .help = "Records under one parent node, before the next is begun."},
    [ZK_MAX_RECORD] = {.name = "max_record",
                       .type = BUS_OPTION_BYTES,
                       .initial = "1000KiB",
                       .min = 4096,
                       .max = 64 << 20,
                       .help = "The longest record; it has to stay below the servers' "
                               "`jute.maxbuffer` (1 MiB) by a few KiB."},
};

static bool is_host(struct str host)
{
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == ',' || c == '/') {
            return false;
        }
    }
    return host.len > 0 && host.len <= HOST_MAX;
}

int zk_server_parse(struct str text, char *host, size_t host_size, uint16_t *out_port)
{
    struct str name;
    if (uri_split_host_port(text, DEFAULT_PORT, &name, out_port) || !is_host(name) ||
        name.len >= host_size) {
        return ERR_SYNTAX;
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    return 0;
}

static const char *servers_problem(const struct bus_value *servers)
{
    char host[HOST_MAX + 1];
    uint16_t port;
    for (size_t i = 0; i < servers->text_count; i++) {
        if (zk_server_parse(servers->texts[i], host, sizeof(host), &port)) {
            return "each must be host:port, [IPv6]:port or host, without a path";
        }
    }
    return NULL;
}

static const char *auth_problem(struct str auth)
{
    struct str scheme;
    struct str user;
    if (auth.len == 0) {
        return NULL;
    }
    if (!str_split(&auth, ':', &scheme) || !str_equal(scheme, STR("digest"))) {
        return "must be digest:user:password; other schemes are not supported";
    }
    if (!auth.ptr || !str_split(&auth, ':', &user) || user.len == 0 || !auth.ptr || auth.len == 0) {
        return "must be digest:user:password, none of them empty";
    }
    return NULL;
}

int zk_check(const struct bus_options *options, size_t *out_option, const char **out_problem)
{
    const char *problem = servers_problem(&options->values[ZK_SERVERS]);
    size_t option = ZK_SERVERS;
    if (!problem) {
        option = ZK_PATH;
        zk_path_check(options->values[ZK_PATH].text, &problem);
    }
    if (!problem) {
        option = ZK_AUTH;
        problem = auth_problem(options->values[ZK_AUTH].text);
    }
    if (!problem) {
        return 0;
    }
    *out_option = option;
    *out_problem = problem;
    return ERR_SYNTAX;
}
