#include "load_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_util.h"

static const char usage[] =
    "load: opens WebSocket sessions, publishes over HTTP, and prints one JSON line\n"
    "  --port N         client listener on 127.0.0.1; of several nodes: once for each\n"
    "  --api-port N     push API on 127.0.0.1; likewise\n"
    "  --key-file F     API key, one line\n"
    "  --app NAME       for ?app= (demo)\n"
    "  --sessions N     how many (100)\n"
    "  --users N        session i belongs to user u(i mod N) (as many as sessions)\n"
    "  --sources N      source addresses 127.0.1.1 and up (8)\n"
    "  --json           subprotocol tidegate.v1.json, not raw sessions\n"
    "  --group NAME     joined in the hello; with --json\n"
    "  --deflate        offer permessage-deflate\n"
    "  --tls            speak TLS to the client listener\n"
    "  --warm N         sessions to open before the others are measured (0)\n"
    "  --window N       handshakes at a time, 0: all at once (256)\n"
    "  --settle MS      rest after opening, before memory is taken (300)\n"
    "  --pid N          server process to account; likewise\n"
    "  --phase SPEC     repeatable; see phase.h. name= to=user|group|all conns= depth= batch= fan=\n"
    "                   size= window= rate= secs= count= raw offline text storm\n";

static const struct option long_options[] = {
    {"port", required_argument, NULL, 'p'},
    {"api-port", required_argument, NULL, 'a'},
    {"key-file", required_argument, NULL, 'k'},
    {"app", required_argument, NULL, 'A'},
    {"sessions", required_argument, NULL, 'n'},
    {"users", required_argument, NULL, 'u'},
    {"sources", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"group", required_argument, NULL, 'g'},
    {"deflate", no_argument, NULL, 'd'},
    {"tls", no_argument, NULL, 't'},
    {"warm", required_argument, NULL, 'w'},
    {"window", required_argument, NULL, 'W'},
    {"settle", required_argument, NULL, 'S'},
    {"pid", required_argument, NULL, 'P'},
    {"phase", required_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void read_key(struct load_options *options, const char *path)
{
    char key[256] = "";
    FILE *file = fopen(path, "r");
    if (!file || !fgets(key, sizeof(key), file)) {
        bench_die("no API key in %s", path);
    }
    fclose(file);
    key[strcspn(key, "\r\n")] = '\0';
    size_t used = strlen(options->headers);
    snprintf(options->headers + used, sizeof(options->headers) - used,
             "Authorization: Bearer %s\r\n", key);
}

static void add_phase(struct load_options *options, const char *text)
{
    if (options->phase_count == LOAD_PHASES_MAX) {
        bench_die("more than %d phases", LOAD_PHASES_MAX);
    }
    phase_parse(&options->phases[options->phase_count++], text);
}

static void add_pid(struct load_options *options, pid_t pid)
{
    struct procstat_server *server = &options->server;
    if (server->count == PROCSTAT_MAX) {
        bench_die("more than %d processes", PROCSTAT_MAX);
    }
    server->pids[server->count++] = pid;
}

static void take_option(struct load_options *options, int option, const char *value)
{
    unsigned number = value ? (unsigned)strtoul(value, NULL, 10) : 0;
    switch (option) {
    case 'p': bench_ports_add(&options->sessions.ports, value); break;
    case 'a': bench_ports_add(&options->api_ports, value); break;
    case 'k': read_key(options, value); break;
    case 'A': options->sessions.app = value; break;
    case 'n': options->session_count = number; break;
    case 'u': options->sessions.users = number; break;
    case 's': options->sessions.sources = number; break;
    case 'j': options->sessions.json = true; break;
    case 'g': options->sessions.group = value; break;
    case 'd': options->sessions.deflate = true; break;
    case 't': options->sessions.tls = ws_client_tls_create(); break;
    case 'w': options->warm = number; break;
    case 'W': options->window = number; break;
    case 'S': options->settle_ms = number; break;
    case 'P': add_pid(options, (pid_t)number); break;
    case 'f': add_phase(options, value); break;
    case 'h': fputs(usage, stdout); exit(0);
    default: exit(2);
    }
}

static void check(struct load_options *options)
{
    struct ws_client_config *sessions = &options->sessions;
    if (!sessions->users) {
        sessions->users = options->session_count;
    }
    if (!sessions->ports.count || !sessions->sources || !options->session_count ||
        options->warm > options->session_count) {
        bench_die("--port, --sessions and --sources are needed, --warm is at most --sessions");
    }
    if (options->session_count % sessions->users) {
        bench_die("every user needs as many sessions as the others");
    }
    if (options->phase_count && !options->api_ports.count) {
        options->api_ports = sessions->ports;
    }
}

void load_options_parse(struct load_options *out, int argc, char **argv)
{
    *out = (struct load_options){.sessions = {.sources = 8, .app = "demo"},
                                 .session_count = 100,
                                 .window = 256,
                                 .settle_ms = 300,
                                 .headers = "Host: 127.0.0.1\r\n"};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        take_option(out, option, optarg);
    }
    check(out);
}
