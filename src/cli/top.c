/* `tidegate top`: the cluster as it is, again and again. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/api_client.h"
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/top_screen.h"
#include "cli/top_view.h"

#define FOOTER "q quit   sort by: n name, c connections, u users, a accepted, w written, d dropped"

struct top {
    struct api_client client;
    const char *interval_text;
    bool once;
    uint64_t interval_ms;
    struct top_view view;
    struct top_screen screen;
    struct buf alerts;  /* the last answer about them; empty: none */
    struct buf last;    /* the last good answer: a failure does not clear the screen */
    struct buf problem; /* … of the last call */
};

/* Which alerts fire is asked only when some do. Without an answer their number must do. */
static int ask_alerts(struct top *top)
{
    buf_clear(&top->alerts);
    if (top->client.json || top_view_firing(top->client.body) == 0) {
        return 0;
    }
    int code = api_client_call(&top->client, "GET", STR("/v1/alerts"), (struct str){NULL, 0}, 0);
    if (code == 0) {
        buf_append_str(&top->alerts, top->client.body.raw);
    }
    return code == API_CLIENT_INTERRUPTED ? code : 0;
}

/* Keeps the answers; how to end, or 0. */
static int ask(struct top *top)
{
    int code = api_client_call(&top->client, "GET", STR("/v1/overview"), (struct str){NULL, 0}, 0);
    buf_clear(&top->problem);
    if (code == 0) {
        buf_clear(&top->last);
        int err = buf_append_str(&top->last, top->client.body.raw);
        return err ? EXIT_CODE_INTERNAL : ask_alerts(top);
    }
    if (code != API_CLIENT_INTERRUPTED) {
        buf_append_str(&top->problem, buf_str(&top->client.words));
    }
    return code;
}

static int write_view(struct top *top, struct buf *out)
{
    struct json_value overview;
    top->view.alerts = (struct json_value){0};
    if (top->alerts.len > 0) {
        json_parse(&top->view.alerts, buf_str(&top->alerts), JSON_MAX_DEPTH, NULL);
    }
    top->view.problem = top->problem.len > 0 ? buf_cstr(&top->problem) : NULL;
    return json_parse(&overview, buf_str(&top->last), JSON_MAX_DEPTH, NULL)
               ? ERR_PROTOCOL
               : top_view_write(out, overview, &top->view);
}

static int complain(struct top *top, int code)
{
    if (code == API_CLIENT_INTERRUPTED) {
        return EXIT_CODE_OK;
    }
    args_complain("top", "%s", top->problem.len > 0 ? buf_cstr(&top->problem) : "memory is out");
    return code;
}

/* ---- without a screen ---- */

static int print(struct top *top)
{
    struct buf out = {0};
    if (top->client.json) {
        output_append_line(&out, buf_str(&top->last));
    } else {
        write_view(top, &out);
    }
    return output_end(&out, "top");
}

/* A gateway that is away for a moment ends nothing once it has answered. */
static int print_each(struct top *top)
{
    bool ever_answered = false;
    for (;;) {
        uint64_t next_ms = clock_monotonic_ms() + top->interval_ms;
        int code = ask(top);
        bool may_wait = ever_answered && !top->once && api_client_may_retry(code);
        if (code == 0) {
            ever_answered = true;
            code = print(top);
            if (code || top->once) {
                return code;
            }
        } else if (!may_wait) {
            return complain(top, code);
        } else {
            complain(top, code);
        }
        if (interrupt_poll(NULL, 0, next_ms) == ERR_CANCELED) {
            return EXIT_CODE_OK;
        }
    }
}

/* ---- on a screen ---- */

static int draw(struct top *top)
{
    struct buf lines = {0};
    int err = write_view(top, &lines);
    if (!err) {
        err = top_screen_draw(&top->screen, buf_str(&lines), STR(FOOTER));
    }
    buf_fini(&lines);
    return err ? EXIT_CODE_INTERNAL : 0;
}

/* How to end, or -1: the next numbers are due. */
static int attend(struct top *top, uint64_t next_ms)
{
    for (;;) {
        int code = draw(top);
        if (code) {
            return code;
        }
        int key = top_screen_key(&top->screen, next_ms);
        if (key == 'q' || key == 'Q' || key == ERR_CANCELED) {
            return EXIT_CODE_OK;
        }
        if (key < 0) {
            return EXIT_CODE_INTERNAL;
        }
        if (key == 0 && clock_monotonic_ms() >= next_ms) {
            return -1;
        }
        top_sort_of_key((char)key, &top->view.sort);
    }
}

static int watch(struct top *top)
{
    int code = ask(top);
    if (code) {
        return complain(top, code);
    }
    if (top_screen_open(&top->screen)) {
        args_complain("top", "the terminal can't be used; --once and --json do without");
        return EXIT_CODE_INTERNAL;
    }
    do {
        code = attend(top, clock_monotonic_ms() + top->interval_ms);
        if (code < 0 && ask(top) == API_CLIENT_INTERRUPTED) {
            code = EXIT_CODE_OK;
        }
    } while (code < 0);
    top_screen_close(&top->screen);
    return code;
}

/* ---- arguments ---- */

static int run(struct top *top)
{
    bool has_screen = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    top->client.quiet = true;
    top->view.is_bold = table_may_color();
    top->once = top->once || (!has_screen && !top->client.json);
    if (interrupt_watch()) {
        args_complain("top", "signals can't be watched");
        return EXIT_CODE_INTERNAL;
    }
    return top->once || top->client.json ? print_each(top) : watch(top);
}

static bool check(struct top *top)
{
    top->interval_ms = 2000;
    if (top->interval_text &&
        (!args_duration_ms(top->interval_text, &top->interval_ms) || top->interval_ms < 200)) {
        args_complain("top", "--interval is a time from 200ms on, like 2s, 1m");
        return false;
    }
    return true;
}

int cli_top(int argc, char **argv)
{
    struct top top = {.client = {.verb = "top", .scope = "monitor or admin"},
                      .view = {.sort = TOP_BY_CONNECTIONS}};
    const struct args_option table[] = {
        {"interval", "TIME", "ask again after this (default 2s)", .text = &top.interval_text},
        {"once", NULL, "print the numbers of now and end", .flag = &top.once},
        API_CLIENT_OPTIONS(&top.client),
        {"json", NULL, "print the server's answer each interval, one a line",
         .flag = &top.client.json},
    };
    const struct args_verb verb = {.name = "top",
                                   .synopsis = "[options]",
                                   .summary = "Shows what the cluster does: connections, messages, "
                                              "latency, by node and by app.",
                                   .options = table,
                                   .option_count = sizeof(table) / sizeof(table[0])};
    int code;
    if (!args_read(&verb, argc, argv, &code)) {
        return code;
    }
    code = check(&top) && api_client_open(&top.client) ? run(&top) : EXIT_CODE_USAGE;
    api_client_close(&top.client);
    buf_fini(&top.alerts);
    buf_fini(&top.last);
    buf_fini(&top.problem);
    return code;
}
