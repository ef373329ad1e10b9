#include "cli/tail_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/api_request.h"
#include "cli/exit_code.h"
#include "proto/utf8.h"

struct tail_texts {
    const char *count, *timeout, *last;
};

static bool parse_args(struct tail_options *options, struct tail_texts *texts, int argc,
                       char **argv, int *out_exit)
{
    const struct args_option table[] = {
        {"url", "URL",
         "as a client: the client listener (default ws://127.0.0.1:8080/v1/ws); with a key: the "
         "API listener (default http://127.0.0.1:8081)",
         .text = &options->url_text},
        {"ca", "FILE", "trust these authorities (PEM) instead of the system's",
         .text = &options->ca_file},
        {"app", "A", "the app", .text = &options->app},
        {"group", "G", "join this group; with a key: what is sent to it", .list = &options->groups},
        {"user", "U", "with a key: what is sent to this user", .text = &options->user},
        {"ticket", "T", "with a key: what is sent to this ticket (its id)",
         .text = &options->ticket},
        {"with-groups", NULL, "of --user: also to its sessions and their groups",
         .flag = &options->with_groups},
        {"last", "N", "with a key: show so many of before first (default 10)",
         .text = &texts->last},
        {"key-file", "FILE", "the API key's file (else TIDEGATE_API_KEY)",
         .text = &options->key_file},
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
        .synopsis = "[--user U | --group G | --ticket T] [options]",
        .summary = "Connects to a running gateway as a client and prints what is pushed to it; or, "
                   "with an API key, what\nis sent to a user, a group or a ticket.\n"
                   "A line is: id, type, group, data, with tabs between; '-' where there is none.",
        .options = table,
        .option_count = sizeof(table) / sizeof(table[0]),
    };
    return args_read(&verb, argc, argv, out_exit);
}

/* A user and a ticket can be looked at only by a key. A group can be joined, too: which of the two
 * is meant follows from the URL, or from which secret there is. */
static bool is_by_key(const struct tail_options *options)
{
    bool is_http = options->url_text && strncmp(options->url_text, "http", 4) == 0;
    bool is_group = options->groups.count == 1 && !options->raw && !options->token_file &&
                    !getenv("TIDEGATE_TOKEN") && !options->url_text;
    return options->user || options->ticket || options->key_file || is_http ||
           (is_group && getenv("TIDEGATE_API_KEY"));
}

static bool is_name(const char *name)
{
    return !name || (*name && utf8_is_valid(str_of(name)));
}

static const char *check_target(struct tail_options *options, const struct tail_texts *texts)
{
    options->last = 10;
    if (!options->user + !options->ticket + (options->groups.count != 1) != 2 ||
        options->groups.count > 1) {
        return "with a key give one of --user U, --group G and --ticket T";
    }
    if (!is_name(options->user) || !is_name(options->ticket)) {
        return "--user or --ticket is empty or not UTF-8; write the name as it was made";
    }
    if (options->raw || options->token_file) {
        return "--raw and --token-file are of a client, who has no key";
    }
    if (options->with_groups && !options->user) {
        return "--with-groups goes with --user";
    }
    if (texts->last && !args_number(texts->last, 0, 1000, &options->last)) {
        return "--last is a number up to 1000";
    }
    return NULL;
}

static const char *check_client(const struct tail_options *options, const struct tail_texts *texts)
{
    bool is_stray = texts->last || options->with_groups;
    return is_stray ? "--last and --with-groups go with --user, --group or --ticket, and a key"
                    : NULL;
}

static const char *check_values(struct tail_options *options, const struct tail_texts *texts)
{
    options->by_key = is_by_key(options);
    if (texts->count && !args_number(texts->count, 1, UINT32_MAX, &options->count)) {
        return "--count is a number from 1";
    }
    if (texts->timeout && !args_duration_ms(texts->timeout, &options->timeout_ms)) {
        return "--timeout is a time with its unit, like 500ms, 10s, 1m";
    }
    if (options->app && !*options->app) {
        return "--app is empty; name an app of the configuration or leave it away";
    }
    for (size_t i = 0; i < options->groups.count; i++) {
        if (!*options->groups.items[i] || !utf8_is_valid(str_of(options->groups.items[i]))) {
            return "a --group is empty or not UTF-8; write the name as it was made";
        }
    }
    return options->by_key ? check_target(options, texts) : check_client(options, texts);
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
        api_request_add_option(target, "app", str_of(app));
    }
    for (size_t i = 0; options->raw && i < options->groups.count; i++) {
        api_request_add_option(target, "group", str_of(options->groups.items[i]));
    }
    return buf_err(target) == 0;
}

bool tail_options_read(struct tail_options *out_options, int argc, char **argv, int *out_exit)
{
    *out_options = (struct tail_options){.timeout_ms = 10000};
    struct tail_texts texts = {0};
    if (!parse_args(out_options, &texts, argc, argv, out_exit)) {
        return false;
    }
    *out_exit = EXIT_CODE_USAGE;
    const char *mistake = check_values(out_options, &texts);
    if (mistake) {
        args_complain("tail", "%s", mistake);
        return false;
    }
    if (out_options->by_key) {
        return true; /* the URL is the API client's to check */
    }
    const char *url = out_options->url_text;
    if (!take_url(out_options, url ? url : "ws://127.0.0.1:8080/v1/ws")) {
        return false;
    }
    *out_exit = EXIT_CODE_INTERNAL;
    return make_target(out_options, out_options->app);
}

void tail_options_fini(struct tail_options *options)
{
    buf_fini(&options->target);
}
