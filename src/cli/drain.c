/* `tidegate drain`: sends the sessions of a node to the others, and waits until it is empty; or
 * lets it take sessions again. */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/api_client.h"
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "proto/uri.h"

enum { LOOK_MS = 500, GRACE_MS = 10000 };

struct drain {
    struct api_client client;
    const char *node;
    const char *window_text;
    bool resume;
    bool no_wait;
    uint64_t left_ms; /* that the gateway said */
    uint64_t last_sessions;
};

static int order(struct drain *drain)
{
    struct buf path = {0};
    struct buf body = {0};
    uint64_t window_ms = 0;
    buf_append_str(&path, STR("/v1/nodes/"));
    uri_encode(&path, str_of(drain->node));
    buf_append_str(&path, drain->resume ? STR(":resume") : STR(":drain"));
    if (drain->window_text) {
        args_duration_ms(drain->window_text, &window_ms);
        buf_printf(&body, "{\"window_ms\":%llu}", (unsigned long long)window_ms);
    } else {
        buf_append_str(&body, STR("{}"));
    }
    int code = buf_err(&path) || buf_err(&body)
                   ? EXIT_CODE_INTERNAL
                   : api_client_call(&drain->client, "POST", buf_str(&path), buf_str(&body), 0);
    buf_fini(&path);
    buf_fini(&body);
    return code;
}

/* Of --json each look is a line: {"node","state","sessions"}. */
static int tell(struct drain *drain, const char *state, uint64_t sessions)
{
    struct buf out = {0};
    if (drain->client.json) {
        buf_append_char(&out, '{');
        json_write_string_field(&out, STR("node"), str_of(drain->node));
        json_write_string_field(&out, STR("state"), str_of(state));
        json_write_u64_field(&out, STR("sessions"), sessions);
        buf_append_str(&out, STR("}\n"));
    } else {
        buf_printf(&out, "%s: %s, %llu session%s\n", drain->node, state,
                   (unsigned long long)sessions, sessions == 1 ? "" : "s");
    }
    return output_end(&out, "drain");
}

/* False: the node is not in the list. */
static bool find_node(const struct drain *drain, struct json_value *out_node)
{
    struct json_iter iter;
    char scratch[256];
    json_iter_init(&iter, api_member(drain->client.body, "nodes"));
    while (json_next(&iter, NULL, out_node)) {
        struct str wanted = str_of(drain->node);
        if (str_equal(api_text(*out_node, "node", scratch, sizeof(scratch)), wanted) ||
            str_equal(api_text(*out_node, "boot", scratch, sizeof(scratch)), wanted)) {
            return true;
        }
    }
    return false;
}

/* It is not in the list: it has stopped, was killed, or whoever answers does not know all yet. */
static int miss(struct drain *drain)
{
    if (!api_flag(drain->client.body, "complete")) {
        return -1;
    }
    uint64_t sessions = drain->last_sessions;
    int code = tell(drain, "gone", sessions);
    if (!code && sessions > 0) {
        args_complain("drain", "the node went without a word with %llu session%s",
                      (unsigned long long)sessions, sessions == 1 ? "" : "s");
        return EXIT_CODE_REFUSED;
    }
    return code;
}

/* What became of it: draining (-1), or how to end. */
static int look(struct drain *drain)
{
    char scratch[256];
    struct json_value node;
    if (!find_node(drain, &node)) {
        return miss(drain);
    }
    struct str state = api_text(node, "state", scratch, sizeof(scratch));
    uint64_t sessions = api_number(node, "sessions");
    if (!str_equal(state, STR("draining"))) {
        return -1; /* its beacon of before the order */
    }
    if (sessions == 0) {
        return tell(drain, "drained", 0);
    }
    if (sessions != drain->last_sessions) {
        drain->last_sessions = sessions;
        int code = tell(drain, "draining", sessions);
        return code ? code : -1;
    }
    return -1;
}

static int await(struct drain *drain)
{
    uint64_t deadline_ms = clock_monotonic_ms() + drain->left_ms + GRACE_MS;
    int code = -1;
    while (code < 0) {
        if (clock_monotonic_ms() >= deadline_ms) {
            args_complain("drain", "the node is not known to be empty after its window");
            return EXIT_CODE_TIMEOUT;
        }
        interrupt_poll(NULL, 0, clock_monotonic_ms() + LOOK_MS);
        code = api_client_call(&drain->client, "GET", STR("/v1/nodes"), (struct str){NULL, 0}, 0);
        code = code == 0 ? look(drain) : api_client_may_retry(code) ? -1 : code;
    }
    return code;
}

static int run(struct drain *drain)
{
    char scratch[64];
    int code = order(drain);
    if (code) {
        return code;
    }
    struct json_value answer = drain->client.body;
    struct str state = api_text(answer, "state", scratch, sizeof(scratch) - 1);
    char name[64];
    snprintf(name, sizeof(name), "%.*s", STR_ARG(state));
    drain->left_ms = api_number(answer, "left_ms");
    drain->last_sessions = api_number(answer, "sessions");
    code = tell(drain, name, drain->last_sessions);
    return code || drain->resume || drain->no_wait ? code : await(drain);
}

static const char *check(const struct drain *drain)
{
    uint64_t ms;
    if (!*drain->node) {
        return "which node? Give its name or boot of 'tidegate nodes'";
    }
    if (drain->resume && (drain->window_text || drain->no_wait)) {
        return "--resume takes neither --window nor --no-wait";
    }
    if (drain->window_text && !args_duration_ms(drain->window_text, &ms)) {
        return "--window is a time with its unit, like 20s, 5m";
    }
    return NULL;
}

int cli_drain(int argc, char **argv)
{
    struct drain drain = {.client = {.verb = "drain", .scope = "admin"}};
    const struct args_option table[] = {
        {"resume", NULL, "let it take sessions again", .flag = &drain.resume},
        {"window", "TIME", "send them away within this (default: the node's drain.window)",
         .text = &drain.window_text},
        {"no-wait", NULL, "don't wait until the node is empty", .flag = &drain.no_wait},
        API_CLIENT_OPTIONS(&drain.client),
        {"json", NULL, "print one JSON object each time that something changed",
         .flag = &drain.client.json},
    };
    const struct args_verb verb = {
        .name = "drain",
        .synopsis = "NODE [--resume] [options]",
        .summary = "Sends the sessions of a node to the others, and waits until it has none.",
        .options = table,
        .option_count = sizeof(table) / sizeof(table[0]),
        .operand = &drain.node};
    int code;
    if (!args_read(&verb, argc, argv, &code)) {
        return code;
    }
    const char *mistake = check(&drain);
    if (mistake) {
        args_complain("drain", "%s", mistake);
        return EXIT_CODE_USAGE;
    }
    code = api_client_open(&drain.client) ? run(&drain) : EXIT_CODE_USAGE;
    api_client_close(&drain.client);
    return code;
}
