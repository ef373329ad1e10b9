#include "cli/tail_target.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/api_client.h"
#include "cli/api_request.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "proto/uri.h"

enum { CURSOR_MAX = 4096, WAIT_MS = 10000, WAIT_LEAST_MS = 500, PAGE = 200 };

struct target_tail {
    const struct tail_options *options;
    struct tail_state *state;
    struct api_client client;
    struct tail_sink sink;
    struct backoff backoff;
    struct buf path;         /* of the target */
    char cursor[CURSOR_MAX]; /* "": nothing was told yet */
    uint64_t wait_ms;        /* limits.wait of the gateway may be less than we would like */
    bool has_more;           /* ask again at once */
    bool ever_answered;
    bool said_incomplete;
};

/* ---- asking ---- */

static void write_path(struct target_tail *tail)
{
    const struct tail_options *options = tail->options;
    const char *name = options->user     ? options->user
                       : options->ticket ? options->ticket
                                         : options->groups.items[0];
    buf_append_str(&tail->path, options->user     ? STR("/v1/users/")
                                : options->ticket ? STR("/v1/tickets/")
                                                  : STR("/v1/groups/"));
    uri_encode(&tail->path, str_of(name));
    buf_append_str(&tail->path, STR("/messages"));
    if (options->with_groups) {
        api_request_add_option(&tail->path, "groups", STR("true"));
    }
}

static void add_number(struct buf *path, const char *name, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    api_request_add_option(path, name, str_of(text));
}

/* At first the last ones that are asked for; of none, one is asked for and not shown. */
static int ask(struct target_tail *tail)
{
    struct buf path = {0};
    uint64_t wait_ms = *tail->cursor && !tail->has_more ? tail->wait_ms : 0;
    uint64_t last = tail->options->last ? tail->options->last : 1;
    buf_append_str(&path, buf_str(&tail->path));
    add_number(&path, "limit", *tail->cursor ? PAGE : last);
    if (*tail->cursor) {
        api_request_add_option(&path, "after", str_of(tail->cursor));
        add_number(&path, "wait_ms", wait_ms);
    }
    int code = buf_err(&path) ? EXIT_CODE_INTERNAL
                              : api_client_call(&tail->client, "GET", buf_str(&path),
                                                (struct str){NULL, 0}, wait_ms);
    buf_fini(&path);
    return code;
}

/* ---- showing ---- */

static void say(struct target_tail *tail)
{
    struct str rest = tail->sink.words.len > 0 ? buf_str(&tail->sink.words) : (struct str){NULL, 0};
    struct str line;
    while (!tail->options->json && str_split(&rest, '\n', &line)) {
        if (line.len > 0) {
            args_complain("tail", "%.*s", STR_ARG(line));
        }
    }
    buf_clear(&tail->sink.words);
}

/* As a client is told of one. */
static void show_gap(struct target_tail *tail)
{
    struct json_value gap = api_member(tail->client.body, "gap");
    if (gap.type == JSON_TYPE_OBJECT) {
        char scratch[64];
        struct buf frame = {0};
        buf_append_str(&frame, STR("{\"t\":\"gap\""));
        json_write_string_field(&frame, STR("why"), api_text(gap, "why", scratch, sizeof(scratch)));
        buf_append_char(&frame, '}');
        tail_state_on_text(tail->state, buf_str(&frame), &tail->sink);
        buf_fini(&frame);
    }
}

static void show_incomplete(struct target_tail *tail)
{
    if (!tail->said_incomplete && !api_flag(tail->client.body, "complete")) {
        tail->said_incomplete = true;
        args_complain("tail", "a node did not say in time which groups the user is in; what goes "
                              "to some may be missing");
    }
}

static int take_cursor(struct target_tail *tail)
{
    char scratch[CURSOR_MAX];
    struct str after = api_text(tail->client.body, "after", scratch, sizeof(scratch) - 1);
    if (after.len == 0 || after.len >= sizeof(tail->cursor)) {
        args_complain("tail", "the answer has no cursor; is the gateway of an older version?");
        return EXIT_CODE_PROTOCOL;
    }
    memcpy(tail->cursor, after.ptr, after.len);
    tail->cursor[after.len] = '\0';
    return EXIT_CODE_OK;
}

static int show(struct target_tail *tail)
{
    struct json_value messages = api_member(tail->client.body, "messages");
    bool is_first = !*tail->cursor;
    show_gap(tail);
    show_incomplete(tail);
    if (!(is_first && tail->options->last == 0) && messages.type == JSON_TYPE_ARRAY) {
        tail_state_on_text(tail->state, messages.raw, &tail->sink);
    }
    buf_clear(&tail->sink.answer); /* nobody is asked to confirm here */
    tail->has_more = !is_first && api_flag(tail->client.body, "more");
    int code = take_cursor(tail);
    int err = buf_err(&tail->sink.words) ? ERR_NO_MEMORY : output_flush(&tail->sink.out);
    say(tail);
    if (err) {
        args_complain("tail", "can't write to standard output: %s", err_str(err));
        return EXIT_CODE_INTERNAL;
    }
    return code;
}

/* ---- again and again ---- */

/* limits.wait is the gateway's to say: less will do. */
static bool waits_too_long(struct target_tail *tail)
{
    char scratch[64];
    struct str code = api_text(tail->client.body, "code", scratch, sizeof(scratch));
    if (!str_equal(code, STR("invalid_wait_ms")) || tail->wait_ms <= WAIT_LEAST_MS) {
        return false;
    }
    tail->wait_ms /= 2;
    return true;
}

/* Waits before the next try; false: the user ends it. */
static bool wait_to_retry(struct target_tail *tail)
{
    uint64_t random = 0;
    (void)!getrandom(&random, sizeof(random), 0);
    uint64_t wait_ms = backoff_next_ms(&tail->backoff, random);
    args_complain("tail", "%s; trying again in %u ms", buf_cstr(&tail->client.words),
                  (unsigned)wait_ms);
    return interrupt_poll(NULL, 0, clock_monotonic_ms() + wait_ms) != ERR_CANCELED;
}

/* How to end, or -1: ask again. */
static int on_failure(struct target_tail *tail, int code)
{
    if (code == API_CLIENT_INTERRUPTED) {
        return EXIT_CODE_OK;
    }
    if (waits_too_long(tail)) {
        return -1;
    }
    bool again = api_client_may_retry(code) && tail->ever_answered && !tail->options->no_reconnect;
    if (!again) {
        args_complain("tail", "%s", buf_cstr(&tail->client.words));
        return code;
    }
    return wait_to_retry(tail) ? -1 : EXIT_CODE_OK;
}

static int run(struct target_tail *tail)
{
    int code = -1;
    while (code < 0) {
        code = ask(tail);
        if (code) {
            code = on_failure(tail, code);
            continue;
        }
        tail->ever_answered = true;
        tail->backoff.tries = 0;
        code = show(tail);
        if (code == 0 && !tail_state_is_done(tail->state)) {
            code = interrupt_raised() ? EXIT_CODE_OK : -1;
        }
    }
    return code;
}

int tail_target_run(const struct tail_options *options, struct tail_state *state)
{
    struct target_tail tail = {.options = options,
                               .state = state,
                               .wait_ms = WAIT_MS,
                               .backoff = {.base_ms = 500, .max_ms = 30000},
                               .client = {.verb = "tail",
                                          .scope = "read or monitor",
                                          .url_text = options->url_text,
                                          .app = options->app,
                                          .ca_file = options->ca_file,
                                          .key_file = options->key_file,
                                          .quiet = true}};
    int code = EXIT_CODE_USAGE;
    if (api_client_open(&tail.client)) {
        tail.client.timeout_ms = options->timeout_ms;
        write_path(&tail);
        code = buf_err(&tail.path) ? EXIT_CODE_INTERNAL : run(&tail);
    }
    api_client_close(&tail.client);
    tail_sink_fini(&tail.sink);
    buf_fini(&tail.path);
    return code;
}
