/* A session that says nothing: who cuts it, and when. And a large frame before that. */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/doctor_front.h"

enum { FRAME_BYTES = 32 * 1024, LOOK_MS = 1000 };

/* ---- a large frame ---- */

static int on_answer(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct doctor_front *front = owner;
    struct json_value frame, re;
    uint64_t number;
    if (json_parse(&frame, payload, JSON_MAX_DEPTH, NULL) == 0 && json_get(frame, STR("re"), &re) &&
        json_u64(re, 1, &number) && number == 1) {
        front->answered = true;
    }
    return 0;
}

/* As large as the gateway takes, at most. */
static size_t frame_bytes(const struct doctor_front *front)
{
    struct json_value welcome, limits, msg;
    uint64_t max = FRAME_BYTES;
    if (json_parse(&welcome, buf_str(&front->welcome), JSON_MAX_DEPTH, NULL) == 0 &&
        json_get(welcome, STR("limits"), &limits) && json_get(limits, STR("msg"), &msg)) {
        json_u64(msg, UINT32_MAX, &max);
    }
    return max < FRAME_BYTES ? (size_t)max : FRAME_BYTES;
}

/* A kind of frame that the gateway passes over, and one that it answers. */
static int send_large(struct doctor_front *front, size_t bytes, uint64_t until_ms)
{
    struct buf frame = {0};
    buf_append_str(&frame, STR("{\"t\":\"doctor\",\"pad\":\""));
    while (frame.len + 2 < bytes && !buf_err(&frame)) {
        buf_append_char(&frame, 'x');
    }
    buf_append_str(&frame, STR("\"}"));
    int err = buf_err(&frame);
    if (!err) {
        err = ws_link_send(front->link, WS_TEXT, buf_str(&frame), until_ms);
    }
    buf_fini(&frame);
    return err ? err
               : ws_link_send(front->link, WS_TEXT,
                              STR("{\"t\":\"leave\",\"re\":1,\"g\":\"tidegate-doctor\"}"),
                              until_ms);
}

void doctor_check_frame(struct doctor_front *front)
{
    static const struct ws_link_events events = {.on_message = on_answer};
    size_t bytes = frame_bytes(front);
    uint64_t until_ms = clock_monotonic_ms() + front->timeout_ms;
    uint16_t code = 0;
    int err = send_large(front, bytes, until_ms);
    while (!err && !front->answered) {
        err = ws_link_read(front->link, &events, front, until_ms, &code);
    }
    if (front->answered) {
        doctor_say(front->report, "front.frame", DOCTOR_OK, NULL,
                   "a frame of %zu bytes goes through, and its answer comes back", bytes);
    } else {
        doctor_say(front->report, "front.frame", DOCTOR_FAIL,
                   "does something in between inspect or limit frames?",
                   "a frame of %zu bytes is not answered: %s", bytes,
                   err == ERR_CLOSED ? "the connection was closed" : err_str(err));
    }
}

/* ---- idling ---- */

static int on_any(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct doctor_front *front = owner;
    front->last_in_ms = clock_monotonic_ms();
    return 0;
}

static void on_ping(void *owner)
{
    struct doctor_front *front = owner;
    front->pings++;
    front->last_in_ms = clock_monotonic_ms();
}

static double seconds(uint64_t ms)
{
    return (double)ms / 1000;
}

/* Nothing of tidegate's ends a connection without a close frame, but for a process that is killed.
 */
static void say_cut(struct doctor_front *front, int err, uint64_t idle_ms, uint64_t silent_ms)
{
    bool was_silent = silent_ms + LOOK_MS >= idle_ms;
    doctor_say(
        front->report, "front.idle", DOCTOR_FAIL,
        "raise the time that the proxy lets a connection be quiet above heartbeat.interval, "
        "or lower that: nginx proxy_read_timeout and proxy_send_timeout (60 s), HAProxy "
        "timeout tunnel (else timeout client and server), AWS ALB idle timeout (60 s), "
        "Azure and others 4 min",
        "cut after %.1f s, %s, by something between: no close frame came, so it was not the "
        "gateway, unless its process died; %.1f s after the last sign of life%s, %u pings seen",
        seconds(idle_ms), err == ERR_CLOSED ? "with a plain end" : "by a reset", seconds(silent_ms),
        was_silent ? "" : " (so it is perhaps the connection's age, not its silence)",
        front->pings);
}

static void say_closed(struct doctor_front *front, uint16_t code, uint64_t idle_ms)
{
    bool is_planned = code >= 4200 && code < 4300;
    const char *why = code == 4102                  ? "our pongs do not reach it"
                      : code >= 4300 && code < 4400 ? "the token's time is over"
                      : is_planned                  ? "it is being drained"
                                                    : "docs/protocol.md says what the code means";
    doctor_say(front->report, "front.idle", is_planned ? DOCTOR_WARN : DOCTOR_FAIL,
               code == 4102 ? "let the proxy pass control frames on in both directions" : NULL,
               "the gateway itself closed after %.1f s with %u: %s", seconds(idle_ms), code, why);
}

static void say_lasted(struct doctor_front *front, uint64_t idle_ms)
{
    uint64_t expected = idle_ms / (front->ping_ms + front->ping_ms / 4);
    if (front->pings == 0 && expected > 0) {
        doctor_say(front->report, "front.idle", DOCTOR_WARN,
                   "let the proxy pass control frames on, or clients can't see a dead connection",
                   "it stood for %.1f s, but of %llu pings none came through", seconds(idle_ms),
                   (unsigned long long)expected);
    } else {
        doctor_say(front->report, "front.idle", DOCTOR_OK, NULL,
                   "it stood for %.1f s; %u pings came through", seconds(idle_ms), front->pings);
    }
}

void doctor_check_idle(struct doctor_front *front)
{
    static const struct ws_link_events events = {.on_message = on_any, .on_ping = on_ping};
    uint64_t since_ms = clock_monotonic_ms();
    uint16_t code = 0;
    int err = ERR_TIMEOUT;
    front->last_in_ms = since_ms;
    while ((!err || err == ERR_TIMEOUT) && clock_monotonic_ms() < since_ms + front->idle_ms) {
        err = ws_link_read(front->link, &events, front, since_ms + front->idle_ms, &code);
    }
    uint64_t now_ms = clock_monotonic_ms();
    if (err == ERR_CANCELED) {
        doctor_say(front->report, "front.idle", DOCTOR_SKIP, NULL, "interrupted after %.1f s",
                   seconds(now_ms - since_ms));
    } else if (!err || err == ERR_TIMEOUT) {
        say_lasted(front, now_ms - since_ms);
    } else if (err == ERR_CLOSED && code != 1006 && code != 1005) {
        say_closed(front, code, now_ms - since_ms);
    } else {
        say_cut(front, err, now_ms - since_ms, now_ms - front->last_in_ms);
    }
}
