#include "app/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/admin.h"
#include "api/alerter.h"
#include "api/api.h"
#include "api/demo.h"
#include "api/export.h"
#include "api/push.h"
#include "api/query.h"
#include "api/sampler.h"
#include "api/up.h"
#include "api/webhook.h"
#include "api/webhook_emit.h"
#include "app/config.h"
#include "base/audit.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/bus.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "net/fetch.h"
#include "net/mailbox.h"
#include "server/gateway.h"
#include "server/stats.h"

enum {
    CHECK_EMPTY_MS = 20,
    RELOAD_KEYS_MS = 5000, /* a reload waits so long for key sets that must be fetched */
    HURRY_MS = 1000,       /* what a second SIGTERM leaves of the drain window */
    DRAIN_EXTRA_MS = 3500, /* beyond the window, for closing handshakes */
    WEBHOOKS_MS = 3000,    /* and for what webhooks have not taken yet, once all else is done */
};

struct server {
    const char *path; /* of the configuration; NULL: defaults */
    struct loop *loop;
    struct mailbox mailbox;
    struct fetcher *fetcher;
    struct settings *settings;
    struct tenants *tenants;
    struct listen_tls tls;
    struct webhooks *webhooks;
    struct sampler *sampler;
    struct exporter *exporter;
    struct alerter *alerter;
    struct gateway *gateway;
    struct admin *admin;
    struct loop_watch signals;
    struct timer timer;             /* draining, or a reload that waits for key sets */
    struct settings *next_settings; /* of the reload under way */
    struct tenants *next_tenants;
    struct listen_tls next_tls;
    uint64_t reload_started_ms;
    uint32_t reload_uid; /* who asked for it */
    uint64_t drain_ends_ms;
    bool has_mailbox;
    bool is_draining;
    bool callers_told; /* no session is left; HTTP connections are being closed */
    bool nodes_told;   /* none is left; the other nodes are being told */
    bool has_left;     /* they were; webhooks are waited for */
};

/* ---- the audit log ---- */

static void audit_signal(const char *action, enum audit_result result, uint32_t uid)
{
    char peer[32];
    snprintf(peer, sizeof(peer), "uid %u", uid);
    audit(&(const struct audit_act){
        .action = action, .result = result, .via = STR("signal"), .peer = str_of(peer)});
}

/* Whoever rotates the file has moved it away and sends SIGHUP, however good the configuration is.
 */
static void reopen_audit(const struct settings *settings)
{
    int err = audit_open(settings->log.audit);
    if (err) {
        log_error("audit.reopen_failed", "log.audit stays as it was, %.*s can't be opened: %s",
                  STR_ARG(settings->log.audit), err_str(err));
    }
}

/* ---- reload ---- */

static void end_reload(struct server *server)
{
    tenants_destroy(server->next_tenants);
    settings_unref(server->next_settings);
    listen_tls_fini(&server->next_tls);
    server->next_tenants = NULL;
    server->next_settings = NULL;
}

/* Every worker uses the new ones: what is in next_* now are the old ones. */
static void on_reloaded(void *owner)
{
    struct server *server = owner;
    end_reload(server);
    log_info("reload.done", "the configuration was read anew");
    audit_signal("config.reload", AUDIT_DONE, server->reload_uid);
}

/* What is told to others of the metrics is no reason to stay with the old settings. */
static void set_export(struct server *server)
{
    int err = exporter_set_settings(server->exporter, server->settings);
    if (err) {
        log_error("export.failed", "the exporters can't be set up: %s", err_str(err));
    }
}

static void apply_reload(struct server *server)
{
    struct endpoint_set *endpoints = NULL;
    int err = webhooks_prepare(&endpoints, server->webhooks, server->next_tenants);
    err = err ? err
              : gateway_reload(server->gateway, server->next_settings, server->next_tenants,
                               &server->next_tls, on_reloaded, server);
    if (err) {
        webhooks_discard(endpoints);
        stats_config_reload(false);
        log_error("reload.failed", "nothing was changed: %s", err_str(err));
        audit_signal("config.reload", AUDIT_FAILED, server->reload_uid);
        end_reload(server);
        return;
    }
    webhooks_apply(endpoints);
    struct settings *settings = server->settings;
    struct tenants *tenants = server->tenants;
    struct listen_tls tls = server->tls;
    server->settings = server->next_settings;
    server->tenants = server->next_tenants;
    server->next_settings = settings;
    server->next_tenants = tenants;
    server->tls = server->next_tls;
    server->next_tls = tls;
    stats_tls_certificates(&server->tls);
    tenants_show_metrics(server->tenants);
    stats_config_loaded(server->settings->hash);
    stats_config_reload(true);
    stats_limits(server->settings);
    log_set_level(server->settings->log.level);
    set_export(server);
    if (!str_equal(server->settings->log.audit, settings->log.audit)) {
        reopen_audit(server->settings);
    }
    admin_set_settings(server->admin, server->settings, server->tls.admin);
    alerter_set_settings(server->alerter, server->settings);
}

static void log_lines(const char *event, const struct buf *lines)
{
    struct str rest = buf_str(lines);
    struct str line;
    while (rest.ptr && str_split(&rest, '\n', &line)) {
        if (line.len) {
            log_warn(event, "%.*s", STR_ARG(line));
        }
    }
}

/* A new name must be good before anything is changed. */
static bool check_audit(struct server *server)
{
    struct str next = server->next_settings->log.audit;
    int err = str_equal(next, server->settings->log.audit) ? 0 : audit_check(next);
    if (err) {
        log_error("reload.refused", "nothing was changed: log.audit: %.*s can't be opened: %s",
                  STR_ARG(next), err_str(err));
        settings_unref(server->next_settings);
        server->next_settings = NULL;
    }
    return err == 0;
}

static bool load_next(struct server *server)
{
    struct buf remarks = {0};
    struct buf restart = {0};
    int err = config_load(&server->next_settings, server->path, &remarks);
    log_lines(err ? "reload.refused" : "reload.remark", &remarks);
    if (!err) {
        config_reload_diff(server->settings, server->next_settings, &restart);
        if (restart.len) {
            log_error("reload.refused", "nothing was changed: only a restart can change %s",
                      buf_cstr(&restart));
            settings_unref(server->next_settings);
            server->next_settings = NULL;
            err = ERR_CONFLICT;
        }
    }
    buf_fini(&remarks);
    buf_fini(&restart);
    return err == 0 && check_audit(server);
}

static int make_tenants(struct server *server, struct tenants **out_tenants,
                        struct settings *settings)
{
    struct tenants_options options = {.settings = settings,
                                      .previous = server->tenants,
                                      .loop = server->loop,
                                      .fetcher = server->fetcher,
                                      .mailbox = &server->mailbox};
    return tenants_create(out_tenants, &options);
}

/* False: nothing was changed. */
static bool begin_reload(struct server *server)
{
    if (server->next_settings || server->is_draining) {
        stats_config_reload(false);
        log_warn("reload.refused", "nothing was changed: another reload or a drain is under way");
        return false;
    }
    if (!load_next(server)) {
        stats_config_reload(false);
        return false;
    }
    const char *problem = NULL;
    int err = listen_tls_create(&server->next_tls, server->next_settings, &problem);
    err = err ? err : make_tenants(server, &server->next_tenants, server->next_settings);
    if (err) {
        stats_config_reload(false);
        log_error("reload.refused", "nothing was changed: %s", problem ? problem : err_str(err));
        end_reload(server);
        return false;
    }
    server->reload_started_ms = loop_now_ms(server->loop);
    loop_timer_start(server->loop, &server->timer, 0);
    return true;
}

static void on_hangup(struct server *server, uint32_t uid)
{
    reopen_audit(server->settings);
    if (begin_reload(server)) {
        server->reload_uid = uid;
    } else {
        audit_signal("config.reload", AUDIT_REFUSED, uid);
    }
}

static void continue_reload(struct server *server)
{
    bool late = loop_now_ms(server->loop) - server->reload_started_ms >= RELOAD_KEYS_MS;
    if (late || tenants_are_complete(server->next_tenants)) {
        apply_reload(server);
    } else {
        loop_timer_start(server->loop, &server->timer, CHECK_EMPTY_MS);
    }
}

/* ---- drain ---- */

static void begin_drain(struct server *server)
{
    uint64_t now = loop_now_ms(server->loop);
    const struct settings_drain *drain = &server->settings->drain;
    if (server->is_draining) {
        uint64_t soon = now + HURRY_MS;
        server->drain_ends_ms = server->drain_ends_ms < soon ? server->drain_ends_ms : soon;
        log_warn("drain.hurried", "a second signal: ending at once");
        return;
    }
    server->is_draining = true;
    uint64_t left = gateway_drain(server->gateway, drain, drain->window_ms, true);
    server->drain_ends_ms = now + left + DRAIN_EXTRA_MS;
    loop_timer_start(server->loop, &server->timer, CHECK_EMPTY_MS);
}

static void continue_drain(struct server *server)
{
    if (!server->callers_told && gateway_is_empty(server->gateway)) {
        server->callers_told = true;
        gateway_drain_callers(server->gateway);
    }
    if (server->callers_told && !server->nodes_told && !gateway_has_callers(server->gateway)) {
        server->nodes_told = true;
        gateway_leave(server->gateway);
    }
    if (server->nodes_told && !server->has_left && gateway_has_left(server->gateway)) {
        server->has_left = true;
        server->drain_ends_ms = loop_now_ms(server->loop) + WEBHOOKS_MS;
    }
    bool is_done = server->has_left && webhooks_are_idle(server->webhooks);
    if (is_done || loop_now_ms(server->loop) >= server->drain_ends_ms) {
        loop_stop(server->loop);
    } else {
        loop_timer_start(server->loop, &server->timer, CHECK_EMPTY_MS);
    }
}

static void on_timer(struct timer *timer)
{
    struct server *server = (struct server *)((char *)timer - offsetof(struct server, timer));
    if (server->is_draining) {
        continue_drain(server);
    } else if (server->next_tenants) {
        continue_reload(server);
    }
}

/* ---- signals ---- */

static void on_signal(struct loop_watch *watch, unsigned events)
{
    struct server *server = (struct server *)((char *)watch - offsetof(struct server, signals));
    struct signalfd_siginfo info;
    while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            on_hangup(server, info.ssi_uid);
        } else {
            audit_signal("node.drain", AUDIT_DONE, info.ssi_uid);
            begin_drain(server);
        }
    }
}

/* Before any thread, so that all of them inherit the mask. */
static int watch_signals(struct server *server)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL)) {
        return -errno;
    }
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    server->signals.on_ready = on_signal;
    int err = loop_watch(server->loop, &server->signals, fd, LOOP_READABLE);
    if (err) {
        close(fd);
    }
    return err;
}

/* ---- start ---- */

static void on_client_request(struct worker *worker, struct http_exchange *exchange)
{
    if (!up_on_request(worker, exchange) && !demo_on_request(worker, exchange)) {
        http_answer_problem(exchange, 404, "not_found", "There is nothing at this path.");
    }
}

static bool parse_listen(struct addr *out_addr, struct str text)
{
    return text.len > 0 && addr_parse(out_addr, text) == 0;
}

static int create_tls(struct server *server, const char **out_problem)
{
    *out_problem = "a certificate of the configuration can't be used";
    int err = listen_tls_create(&server->tls, server->settings, out_problem);
    if (!err) {
        stats_tls_certificates(&server->tls);
    }
    return err;
}

static int create_gateway(struct server *server, const char **out_problem)
{
    const struct settings *settings = server->settings;
    struct gateway_options options = {
        .settings = server->settings,
        .engine = bus_engine_find(settings->bus.engine),
        .hooks = {.on_api_head = api_on_head,
                  .on_api_request = api_on_request,
                  .on_client_request = on_client_request,
                  .on_node_ask = query_on_node_ask,
                  .on_session_opened = webhook_on_session_opened,
                  .on_session_closed = webhook_on_session_closed,
                  .on_client_message = webhook_on_client_message,
                  .on_user_changed = webhook_on_user_changed,
                  .on_worker_end = push_free_scratch},
        .tls = server->tls,
        .main_mailbox = &server->mailbox,
        .webhooks = server->webhooks,
        .spans = exporter_span_sink(server->exporter),
        .sampler = server->sampler,
        .alerter = server->alerter,
    };
    options.has_client = parse_listen(&options.client, settings->listen.client);
    options.has_api = parse_listen(&options.api, settings->listen.api);
    return gateway_create(&server->gateway, &options, server->tenants, out_problem);
}

static int create_admin(struct server *server, const char **out_problem)
{
    struct addr addr;
    *out_problem = "the admin listener can't be opened (listen.admin)";
    return parse_listen(&addr, server->settings->listen.admin)
               ? admin_create(&server->admin, server->loop, &addr, server->gateway,
                              server->settings, server->tls.admin)
               : 0;
}

/* A node needs a descriptor a session: take what the hard limit allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static const char *mark(const struct tls_context *tls)
{
    return tls ? " (TLS)" : "";
}

static void say_where(const struct server *server)
{
    char client[ADDR_TEXT_MAX] = "-";
    char api[ADDR_TEXT_MAX] = "-";
    char admin[ADDR_TEXT_MAX] = "-";
    struct addr addr;
    if (server->gateway->options.has_client) {
        addr_format(&server->gateway->client_addr, client);
    }
    if (server->gateway->options.has_api) {
        addr_format(&server->gateway->api_addr, api);
    }
    if (server->admin) {
        admin_addr(server->admin, &addr);
        addr_format(&addr, admin);
    }
    const struct listen_tls *tls = &server->tls;
    log_info("server.started", "tidegate %s: client %s%s, api %s%s, admin %s%s, %u workers",
             TIDEGATE_VERSION, client, mark(tls->client), api, mark(tls->api), admin,
             mark(tls->admin), server->gateway->worker_count);
}

static int create_exporter(struct server *server)
{
    char node[SETTINGS_NODE_MAX + 1];
    settings_node_name(server->settings, node);
    return exporter_create(&server->exporter, node);
}

static int start(struct server *server, const char **out_problem)
{
    *out_problem = "the audit log can't be opened (log.audit)";
    server->timer.on_fire = on_timer;
    int err = audit_open(server->settings->log.audit);
    if (!err) {
        *out_problem = "the main loop can't be made";
        err = loop_create(&server->loop);
    }
    err = err ? err : watch_signals(server);
    err = err ? err : mailbox_init(&server->mailbox, server->loop);
    server->has_mailbox = !err;
    err = err ? err : fetcher_create(&server->fetcher, server->loop, NULL, NULL);
    if (!err) {
        *out_problem = "a token key of the configuration can't be used";
        err = make_tenants(server, &server->tenants, server->settings);
    }
    if (!err) {
        tenants_show_metrics(server->tenants);
        *out_problem = "webhooks can't be made";
        err = webhooks_create(&server->webhooks, server->tenants);
    }
    err = err ? err : sampler_create(&server->sampler, server->loop);
    if (!err) {
        *out_problem = "the exporters can't be made";
        err = create_exporter(server);
    }
    if (!err) {
        *out_problem = "the alerter can't be made";
        err = alerter_create(&server->alerter, server->loop, server->fetcher, server->settings);
    }
    err = err ? err : create_tls(server, out_problem);
    err = err ? err : create_gateway(server, out_problem);
    err = err ? err : create_admin(server, out_problem);
    if (!err) {
        *out_problem = "a thread can't be started";
        err = gateway_start(server->gateway);
    }
    if (!err) {
        set_export(server);
    }
    return err;
}

static void stop(struct server *server)
{
    exporter_stop(server->exporter);
    admin_destroy(server->admin);
    gateway_destroy(server->gateway);
    webhooks_destroy(server->webhooks);
    sampler_destroy(server->sampler);
    exporter_destroy(server->exporter);
    alerter_destroy(server->alerter);
    tenants_destroy(server->tenants);
    tenants_destroy(server->next_tenants);
    fetcher_destroy(server->fetcher);
    if (server->has_mailbox) {
        mailbox_fini(&server->mailbox);
    }
    if (server->signals.fd > 0) {
        int fd = server->signals.fd;
        loop_unwatch(server->loop, &server->signals);
        close(fd);
    }
    loop_destroy(server->loop);
    settings_unref(server->settings);
    settings_unref(server->next_settings);
    listen_tls_fini(&server->tls);
    listen_tls_fini(&server->next_tls);
}

static int serve(struct server *server)
{
    const char *problem = "";
    int err = start(server, &problem);
    if (err) {
        log_error("server.failed", "%s: %s", problem, err_str(err));
    } else {
        say_where(server);
        err = loop_run(server->loop);
        log_info("server.stopped", "the gateway ends");
    }
    stop(server);
    return err ? EXIT_CODE_REFUSED : EXIT_CODE_OK;
}

static void open_logs(const struct settings *settings)
{
    char node[SETTINGS_NODE_MAX + 1];
    settings_node_name(settings, node);
    log_set_node(node);
    log_set_level(settings->log.level);
    log_start(STDERR_FILENO);
}

static const char *config_path(const char *given)
{
    return given ? given : getenv("TIDEGATE_CONFIG");
}

int app_serve_main(int argc, char **argv)
{
    const char *path = NULL;
    const struct args_option options[] = {
        {.name = "config", .value = "F", .help = "the configuration (YAML)", .text = &path},
    };
    const struct args_verb verb = {.name = "serve",
                                   .synopsis = "[--config F]",
                                   .summary = "Runs the gateway until SIGTERM or SIGINT.",
                                   .options = options,
                                   .option_count = 1};
    struct server server = {0};
    struct buf remarks = {0};
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    server.path = config_path(path);
    int err = config_load(&server.settings, server.path, &remarks);
    if (err) {
        fputs(buf_cstr(&remarks), stderr);
        buf_fini(&remarks);
        args_complain("serve", "the configuration is not usable: %s", err_str(err));
        return err == ERR_SYNTAX ? EXIT_CODE_REFUSED : EXIT_CODE_USAGE;
    }
    raise_descriptor_limit();
    stats_init();
    stats_config_loaded(server.settings->hash);
    stats_limits(server.settings);
    open_logs(server.settings);
    log_lines("config.remark", &remarks);
    buf_fini(&remarks);
    exit_code = serve(&server);
    audit_close();
    log_stop();
    return exit_code;
}
