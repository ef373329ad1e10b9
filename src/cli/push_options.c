#include "cli/push_options.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/exit_code.h"
#include "proto/json.h"
#include "proto/utf8.h"

/* As the arguments say it, before it is understood. */
struct push_texts {
    const char *ttl, *timeout, *data, *url;
};

static bool parse_args(struct push_options *options, struct push_texts *texts, int argc,
                       char **argv, int *out_exit)
{
    const struct args_option table[] = {
        {"user", "U", "to all sessions of this user", .list = &options->users},
        {"group", "G", "to this group", .list = &options->groups},
        {"session", "S", "to this session (its sid)", .list = &options->sessions},
        {"ticket", "T", "to the page with this ticket (its id)", .list = &options->tickets},
        {"all", NULL, "to every session of the app", .flag = &options->all},
        {"final", NULL, "the last message of its tickets", .flag = &options->is_final},
        {"type", "T", "the message's type, like comment.created", .text = &options->type},
        {"id", "I", "its id: the same id and data are accepted once", .text = &options->id},
        {"collapse", "KEY", "of those that wait, only the newest of this key arrives",
         .text = &options->collapse},
        {"ttl", "TIME", "not delivered later than this: 60s, 10m", .text = &texts->ttl},
        {"wait", "HOW", "none (default), routed, written or acked", .text = &options->wait},
        {"data", "JSON", "the data; @FILE reads a file; without it: standard input",
         .text = &texts->data},
        {"url", "URL", "the API listener (default http://127.0.0.1:8081)", .text = &texts->url},
        {"ca", "FILE", "trust these authorities for https (PEM) instead of the system's",
         .text = &options->ca_file},
        {"key-file", "FILE", "the API key's file (else TIDEGATE_API_KEY)",
         .text = &options->key_file},
        {"timeout", "TIME", "give up after this (default 10s)", .text = &texts->timeout},
        {"json", NULL, "print the server's answer as it came, on one line", .flag = &options->json},
    };
    const struct args_verb verb = {
        .name = "push",
        .synopsis = "--user U | --group G | --session S | --ticket T | --all  [options]",
        .summary = "Pushes one message to a running gateway and prints its id.",
        .options = table,
        .option_count = sizeof(table) / sizeof(table[0]),
    };
    return args_read(&verb, argc, argv, out_exit);
}

static bool names_are_good(const struct args_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (!*list->items[i] || !utf8_is_valid(str_of(list->items[i]))) {
            return false;
        }
    }
    return true;
}

static const char *check_targets(const struct push_options *options)
{
    size_t others = options->users.count + options->groups.count + options->sessions.count +
                    options->all;
    if (others + options->tickets.count == 0) {
        return "to whom? Give --user U, --group G, --session S, --ticket T or --all";
    }
    if (options->is_final && others > 0) {
        return "only tickets have a final message; give --final with --ticket alone";
    }
    if (!names_are_good(&options->users) || !names_are_good(&options->groups) ||
        !names_are_good(&options->sessions) || !names_are_good(&options->tickets)) {
        return "a --user, --group, --session or --ticket is empty or not UTF-8; write the name as it "
               "was made";
    }
    if ((options->type && !utf8_is_valid(str_of(options->type))) ||
        (options->id && !utf8_is_valid(str_of(options->id))) ||
        (options->collapse && !utf8_is_valid(str_of(options->collapse)))) {
        return "--type, --id or --collapse is not UTF-8; use another name";
    }
    return NULL;
}

static bool is_wait(const char *text)
{
    struct str wait = str_of(text);
    return str_equal(wait, STR("none")) || str_equal(wait, STR("routed")) ||
           str_equal(wait, STR("written")) || str_equal(wait, STR("acked"));
}

static const char *check_values(struct push_options *options, const struct push_texts *texts)
{
    if (texts->ttl && !args_duration_ms(texts->ttl, &options->ttl_ms)) {
        return "--ttl is a time with its unit, like 500ms, 60s, 10m, 2h";
    }
    if (texts->timeout && !args_duration_ms(texts->timeout, &options->timeout_ms)) {
        return "--timeout is a time with its unit, like 500ms, 10s, 1m";
    }
    if (options->wait && !is_wait(options->wait)) {
        return "--wait is none, routed, written or acked";
    }
    return check_targets(options);
}

static bool check_url(struct push_options *options, const char *text)
{
    const char *reason;
    if (url_parse(&options->url, text, &reason)) {
        args_complain("push", "--url can't be used: %s; the default is http://127.0.0.1:8081",
                      reason);
        return false;
    }
    if (options->url.is_websocket ||
        (options->url.target.len > 0 &&
         memchr(options->url.target.ptr, '?', options->url.target.len))) {
        args_complain("push", "--url is the API's base, http:// or https:// without a query, like "
                              "http://127.0.0.1:8081");
        return false;
    }
    return true;
}

/* --- Data --- */

static int read_all(struct buf *out, int fd)
{
    for (;;) {
        uint8_t *to = buf_reserve(out, 64 * 1024);
        if (!to) {
            return buf_err(out);
        }
        ssize_t got = read(fd, to, 64 * 1024);
        if (got <= 0) {
            return got < 0 ? -errno : 0;
        }
        out->len += (size_t)got;
        if (out->len > PUSH_DATA_MAX) {
            return ERR_TOO_LARGE;
        }
    }
}

static int read_file(struct buf *out, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int err = read_all(out, fd);
    close(fd);
    return err;
}

static bool load_data(struct push_options *options, const char *text)
{
    const char *from = "standard input";
    int err;
    if (!text || str_equal(str_of(text), STR("@-"))) {
        err = read_all(&options->data, STDIN_FILENO);
    } else if (text[0] == '@') {
        from = text + 1;
        err = read_file(&options->data, from);
    } else {
        from = "--data";
        err = buf_append_str(&options->data, str_of(text));
    }
    if (err) {
        args_complain("push", "can't read the data from %s: %s", from, err_str(err));
    }
    return err == 0;
}

static bool check_data(struct push_options *options)
{
    struct json_value value;
    size_t at;
    int err = json_parse(&value, buf_str(&options->data), JSON_MAX_DEPTH, &at);
    if (err == ERR_TOO_LARGE) {
        args_complain("push", "the data are nested more than %d deep; make them flatter",
                      JSON_MAX_DEPTH);
    } else if (options->data.len == 0) {
        args_complain("push", "there are no data; give --data JSON, or JSON on standard input");
    } else if (err) {
        args_complain("push",
                      "the data are not JSON (byte %zu: %s); a text needs its quotes: "
                      "--data '\"hello\"'",
                      at, at == options->data.len ? "they end too early" : err_str(err));
    }
    return err == 0;
}

bool push_options_read(struct push_options *out_options, int argc, char **argv, int *out_exit)
{
    *out_options = (struct push_options){.timeout_ms = 10000};
    struct push_texts texts = {.url = "http://127.0.0.1:8081"};
    if (!parse_args(out_options, &texts, argc, argv, out_exit)) {
        return false;
    }
    *out_exit = EXIT_CODE_USAGE;
    const char *mistake = check_values(out_options, &texts);
    if (mistake) {
        args_complain("push", "%s", mistake);
        return false;
    }
    return check_url(out_options, texts.url) && load_data(out_options, texts.data) &&
           check_data(out_options);
}

void push_options_fini(struct push_options *options)
{
    buf_fini(&options->data);
}
