#include "cli/tail_options.h"

#include "base/err.h"
#include "cli/exit_code.h"
#include "proto/uri.h"
#include "proto/utf8.h"

struct tail_texts {
    const char *url, *app, *count, *timeout;
};

static bool parse_args(struct tail_options *options, struct tail_texts *texts, int argc,
                       char **argv, int *out_exit)
{
    const struct args_option table[] = {
        {"url", "URL", "the client listener (default ws://127.0.0.1:8080/v1/ws)",
         .text = &texts->url},
        {"ca", "FILE", "trust these authorities for wss (PEM) instead of the system's",
         .text = &options->ca_file},
        {"app", "A", "the app to connect to", .text = &texts->app},
        {"group", "G", "join this group", .list = &options->groups},
        {"raw", NULL, "no subprotocol: the payloads alone, no resume", .flag = &options->raw},
        {"count", "N", "end after N messages", .text = &texts->count},
        {"json", NULL, "print each frame as it came, one a line", .flag = &options->json},
        {"token-file", "FILE", "the token's file (else TIDEGATE_TOKEN)",
         .text = &options->token_file},
        {"timeout", "TIME", "for connecting (default 10s)", .text = &texts->timeout},
        {"no-reconnect", NULL, "end when the connection ends", .flag = &options->no_reconnect},
    };
    const struct args_verb verb = {
        .name = "tail",
        .synopsis = "[options]",
        .summary = "Connects to a running gateway as a client and prints what is pushed to it.\n"
                   "A line is: id, type, group, data, with tabs between; '-' where there is none.",
        .options = table,
        .option_count = sizeof(table) / sizeof(table[0]),
    };
    return args_read(&verb, argc, argv, out_exit);
}

static const char *check_values(struct tail_options *options, const struct tail_texts *texts)
{
    if (texts->count && !args_number(texts->count, 1, UINT32_MAX, &options->count)) {
        return "--count is a number from 1";
    }
    if (texts->timeout && !args_duration_ms(texts->timeout, &options->timeout_ms)) {
        return "--timeout is a time with its unit, like 500ms, 10s, 1m";
    }
    if (texts->app && !*texts->app) {
        return "--app is empty; name an app of the configuration or leave it away";
    }
    for (size_t i = 0; i < options->groups.count; i++) {
        if (!*options->groups.items[i] || !utf8_is_valid(str_of(options->groups.items[i]))) {
            return "a --group is empty or not UTF-8; write the name as it was made";
        }
    }
    return NULL;
}

static bool take_url(struct tail_options *options, const char *text)
{
    const char *reason;
    if (url_parse(&options->url, text, &reason)) {
        args_complain("tail", "--url can't be used: %s; the default is ws://127.0.0.1:8080/v1/ws",
                      reason);
        return false;
    }
    if (!options->url.is_websocket) {
        args_complain("tail", "--url starts with ws:// or wss://, like ws://127.0.0.1:8080/v1/ws");
        return false;
    }
    return true;
}

static void add_parameter(struct buf *target, struct str name, const char *value)
{
    bool has_query = target->len > 0 && memchr(target->data, '?', target->len);
    buf_append_char(target, has_query ? '&' : '?');
    buf_append_str(target, name);
    buf_append_char(target, '=');
    uri_encode(target, str_of(value));
}

/* "/v1/ws" unless the URL has a path; the query names the app, and the groups of a raw session,
 * which has no hello to name them. */
static bool make_target(struct tail_options *options, const char *app)
{
    struct buf *target = &options->target;
    struct str given = options->url.target;
    if (given.len > 0 && given.ptr[0] == '/' && (given.len == 1 || given.ptr[1] == '?')) {
        given = str_make(given.ptr + 1, given.len - 1);
    }
    if (given.len == 0 || given.ptr[0] == '?') {
        buf_append_str(target, STR("/v1/ws"));
    }
    buf_append_str(target, given);
    if (app) {
        add_parameter(target, STR("app"), app);
    }
    for (size_t i = 0; options->raw && i < options->groups.count; i++) {
        add_parameter(target, STR("group"), options->groups.items[i]);
    }
    return buf_err(target) == 0;
}

bool tail_options_read(struct tail_options *out_options, int argc, char **argv, int *out_exit)
{
    *out_options = (struct tail_options){.timeout_ms = 10000};
    struct tail_texts texts = {.url = "ws://127.0.0.1:8080/v1/ws"};
    if (!parse_args(out_options, &texts, argc, argv, out_exit)) {
        return false;
    }
    *out_exit = EXIT_CODE_USAGE;
    const char *mistake = check_values(out_options, &texts);
    if (mistake) {
        args_complain("tail", "%s", mistake);
        return false;
    }
    if (!take_url(out_options, texts.url)) {
        return false;
    }
    *out_exit = EXIT_CODE_INTERNAL;
    return make_target(out_options, texts.app);
}

void tail_options_fini(struct tail_options *options)
{
    buf_fini(&options->target);
}
