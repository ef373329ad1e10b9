#include "cli/tail_session.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/tail_raw.h"

enum {
    WRITE_MS = 10000,  /* for a frame of ours to leave */
    ANSWER_MS = 10000, /* for the pong to our ping */
    STEADY_MS = 10000, /* a connection that stood so long ends the doubling of the waits */
};

/* Why a connection ends that has no error. */
enum { TAIL_DONE = 1, TAIL_LEAVE = 2 };

static int fail_output(struct tail *tail, int err)
{
    tail->output_err = err;
    return err;
}

/* --- What comes --- */

static void say_words(struct buf *words, bool quiet)
{
    struct str rest = words->len > 0 ? buf_str(words) : (struct str){NULL, 0};
    struct str line;
    while (!quiet && str_split(&rest, '\n', &line)) {
        if (line.len > 0) {
            args_complain("tail", "%.*s", STR_ARG(line));
        }
    }
    buf_clear(words);
}

static int send_answer(struct tail *tail)
{
    if (tail->sink.answer.len == 0) {
        return 0;
    }
    int err = ws_link_send(tail->link, WS_TEXT, buf_str(&tail->sink.answer),
                           clock_monotonic_ms() + WRITE_MS);
    buf_clear(&tail->sink.answer);
    return err;
}

/* What was printed is acknowledged, in this order. */
static int settle(struct tail *tail)
{
    int err = buf_err(&tail->sink.words) ? ERR_NO_MEMORY : buf_err(&tail->sink.answer);
    if (err) {
        return err;
    }
    err = output_flush(&tail->sink.out);
    if (err) {
        return fail_output(tail, err);
    }
    say_words(&tail->sink.words, tail->options.json);
    return send_answer(tail);
}

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct tail *tail = owner;
    if (tail_state_is_done(&tail->state)) {
        return 0;
    }
    if (tail->options.raw) {
        tail_raw_write(&tail->sink.out, opcode, payload, tail->options.json);
        tail->state.messages++;
        return 0;
    }
    return opcode == WS_TEXT ? tail_state_on_text(&tail->state, payload, &tail->sink)
                             : ERR_PROTOCOL;
}

/* A callback's own error reaches us as "stopped": look at what it was. */
static int read_once(struct tail *tail, uint64_t deadline_ms, uint16_t *out_close)
{
    static const struct ws_link_events events = {.on_message = on_message};
    int err = ws_link_read(tail->link, &events, tail, deadline_ms, out_close);
    if (err != ERR_TIMEOUT) {
        tail->heard_ms = clock_monotonic_ms();
        tail->asked_ms = 0;
    }
    int settled = settle(tail);
    if (tail_state_is_done(&tail->state)) {
        return settled ? settled : TAIL_DONE;
    }
    return err == WS_READER_STOPPED ? ERR_PROTOCOL : err ? err : settled;
}

/* --- Tokens --- */

bool tail_renew_token(struct tail *tail)
{
    struct secret fresh;
    bool changed = tail->options.token_file &&
                   secret_read(&fresh, tail->options.token_file, "TIDEGATE_TOKEN") == 0 &&
                   strcmp(fresh.text, tail->token.text) != 0;
    if (changed) {
        tail->token = fresh;
    }
    secret_wipe(&fresh);
    return changed;
}

static int refresh_token(struct tail *tail)
{
    struct buf frame = {0};
    tail->state.token_expiring = false;
    if (!tail_renew_token(tail)) {
        return 0;
    }
    int err = tail_state_write_refresh(&frame, tail->token.text);
    if (!err) {
        err = ws_link_send(tail->link, WS_TEXT, buf_str(&frame), clock_monotonic_ms() + WRITE_MS);
    }
    if (frame.data) {
        explicit_bzero(frame.data, frame.cap);
    }
    buf_fini(&frame);
    return err;
}

/* --- One connection --- */

static int open_link(struct tail *tail, int *out_status)
{
    const struct ws_link_request request = {
        .url = &tail->options.url,
        .ca_file = tail->options.ca_file,
        .target = buf_str(&tail->options.target),
        .token = tail->token.text,
        .protocol = tail->options.raw ? STR("") : STR("tidegate.v1.json"),
    };
    return ws_link_open(&tail->link, &request, clock_monotonic_ms() + tail->options.timeout_ms,
                        out_status);
}

static int send_hello(struct tail *tail)
{
    struct buf hello = {0};
    const struct args_list *groups = &tail->options.groups;
    int err = tail_state_write_hello(&tail->state, &hello, groups->items, groups->count);
    if (!err) {
        err = ws_link_send(tail->link, WS_TEXT, buf_str(&hello), clock_monotonic_ms() + WRITE_MS);
    }
    buf_fini(&hello);
    return err;
}

/* The peer pings every ping_ms; after two and a bit without a sound we ask, once. */
static uint64_t silence_deadline_ms(const struct tail *tail)
{
    return tail->asked_ms ? tail->asked_ms + ANSWER_MS
                          : tail->heard_ms + tail->state.ping_ms * 9 / 4;
}

static int on_silence(struct tail *tail)
{
    if (tail->asked_ms) {
        return ERR_TIMEOUT;
    }
    tail->asked_ms = clock_monotonic_ms();
    return ws_link_send(tail->link, WS_PING, STR("tail"), tail->asked_ms + WRITE_MS);
}

static void plan_leave(struct tail *tail)
{
    if (tail->state.going_away && !tail->leave_ms) {
        tail->leave_ms = clock_monotonic_ms() + tail->state.slot_ms;
    }
}

/* Waits for one thing and does what it asks for. 0, or why the connection ends. */
static int turn(struct tail *tail, uint16_t *out_close)
{
    uint64_t silent_ms = silence_deadline_ms(tail);
    bool leaves = tail->leave_ms && tail->leave_ms < silent_ms;
    int err = read_once(tail, leaves ? tail->leave_ms : silent_ms, out_close);
    if (err == ERR_TIMEOUT && clock_monotonic_ms() >= (leaves ? tail->leave_ms : silent_ms)) {
        err = leaves ? TAIL_LEAVE : on_silence(tail);
    }
    if (!err && tail->state.token_expiring) {
        err = refresh_token(tail);
    }
    plan_leave(tail);
    return err;
}

static int await_welcome(struct tail *tail, uint16_t *out_close)
{
    uint64_t deadline_ms = clock_monotonic_ms() + tail->options.timeout_ms;
    int err = send_hello(tail);
    while (!err && !tail->state.welcomed) {
        err = read_once(tail, deadline_ms, out_close);
    }
    return err;
}

static int use_link(struct tail *tail, uint16_t *out_close)
{
    tail_state_reset_connection(&tail->state);
    tail->heard_ms = clock_monotonic_ms();
    tail->asked_ms = 0;
    tail->leave_ms = 0;
    int err = tail->options.raw ? 0 : await_welcome(tail, out_close);
    if (!err) {
        tail->ever_connected = true;
        tail->backoff.base_ms = tail->state.retry_base_ms;
        tail->backoff.max_ms = tail->state.retry_max_ms;
        plan_leave(tail);
    }
    while (!err) {
        err = turn(tail, out_close);
    }
    return err;
}

static uint16_t close_code_for(int err)
{
    switch (err) {
    case TAIL_DONE:
    case TAIL_LEAVE:
    case ERR_CANCELED: return WS_CLOSE_NORMAL;
    case ERR_PROTOCOL:
    case ERR_UTF8:
    case ERR_SYNTAX:
    case ERR_TOO_LARGE: return ws_close_code_for(err);
    default: return 0;
    }
}

/* --- What its end means --- */

static struct tail_verdict judge(int err, uint16_t close_code)
{
    switch (err) {
    case TAIL_DONE:
    case ERR_CANCELED: return (struct tail_verdict){TAIL_STOP, EXIT_CODE_OK, NULL};
    case TAIL_LEAVE: return (struct tail_verdict){TAIL_RETRY_NOW, EXIT_CODE_OK, NULL};
    case ERR_CLOSED: return tail_judge_close(close_code);
    default: return tail_judge_error(err);
    }
}

static struct tail_verdict judge_open(int err, int status)
{
    if (status) {
        return tail_judge_status(status);
    }
    if (err == ERR_CANCELED) {
        return (struct tail_verdict){TAIL_STOP, EXIT_CODE_OK, NULL};
    }
    if (err == ERR_SYNTAX) { /* the file of --ca: it will not mend itself */
        return (struct tail_verdict){TAIL_STOP, EXIT_CODE_USAGE, conn_advice(err)};
    }
    int code = err == ERR_TIMEOUT ? EXIT_CODE_TIMEOUT : EXIT_CODE_CONNECT;
    return (struct tail_verdict){TAIL_RETRY, code, conn_advice(err)};
}

struct tail_verdict tail_session_run(struct tail *tail)
{
    int status;
    uint16_t close_code = 0;
    int err = open_link(tail, &status);
    if (err) {
        return judge_open(err, status);
    }
    uint64_t since_ms = clock_monotonic_ms();
    err = use_link(tail, &close_code);
    ws_link_close(tail->link, close_code_for(err));
    tail->link = NULL;
    if (clock_monotonic_ms() - since_ms >= STEADY_MS) {
        tail->backoff.tries = 0;
    }
    return judge(err, close_code);
}
