#include "api/alert_sender.h"

#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "server/families.h"

enum { ANSWER_BYTES = 64 * 1024, RETRY_MS = 1000, RETRY_MAX_MS = 60 * 1000 };

struct receiver {
    struct alert_sender *sender;
    const struct settings_receiver *settings; /* of site->settings */
    struct fetch *fetch;                      /* under way; NULL: none */
    struct backoff rest;
    uint64_t rests_until_ms;
    bool is_failing; /* and that was said */
};

struct alert_sender {
    struct loop *loop;
    struct fetcher *fetcher;
    const struct alert_book *book;
    const struct alert_site *site;
    struct timer timer; /* wakes who rests */
    struct receiver receivers[ALERT_RECEIVERS_MAX];
    size_t count;
};

static unsigned index_of(const struct receiver *receiver)
{
    return (unsigned)(receiver - receiver->sender->receivers);
}

/* ---- one request ---- */

static uint64_t draw(void)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return random;
}

static const char *result_of(int err, int status)
{
    if (!err) {
        return status / 100 == 2 ? "2xx" : status / 100 == 4 ? "4xx" : "other";
    }
    return err == ERR_TIMEOUT ? "timeout" : err == ERR_DENIED ? "certificate" : "unreachable";
}

/* At 0, so that a first failure is an increase for Prometheus too. */
static void make_series(void)
{
    static const char *const results[] = {"2xx",     "4xx",         "other",
                                          "timeout", "certificate", "unreachable"};
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        (void)SERIES(alert_notices_total, results[i]);
    }
}

/* Once for each time that it fails: it is tried again and again. The URL may hold what should not
 * be in a log. */
static void log_result(struct receiver *receiver, int err, const struct fetch_response *response)
{
    bool is_taken = !err && response->status / 100 == 2;
    unsigned number = index_of(receiver) + 1;
    if (is_taken && receiver->is_failing) {
        log_info("alert.told", "receiver %u of alerts takes them again", number);
    } else if (!is_taken && !receiver->is_failing && err) {
        log_warn("alert.untold", "receiver %u of alerts was not told: %s: %s", number, err_str(err),
                 response->detail);
    } else if (!is_taken && !receiver->is_failing) {
        log_warn("alert.untold", "receiver %u of alerts answered with %d", number,
                 response->status);
    }
    receiver->is_failing = !is_taken;
}

static void on_done(void *owner, int err, const struct fetch_response *response)
{
    struct receiver *receiver = owner;
    struct alert_sender *sender = receiver->sender;
    bool is_taken = !err && response->status / 100 == 2;
    receiver->fetch = NULL;
    if (err == ERR_CANCELED) {
        alert_notice_done(sender->book, index_of(receiver), false);
        return;
    }
    metric_add(SERIES(alert_notices_total, result_of(err, response->status)), 1);
    log_result(receiver, err, response);
    alert_notice_done(sender->book, index_of(receiver), is_taken);
    if (is_taken) {
        receiver->rest.tries = 0;
    } else {
        uint64_t rest_ms = backoff_next_ms(&receiver->rest, draw());
        receiver->rests_until_ms = loop_now_ms(sender->loop) + rest_ms;
    }
    alert_sender_pump(sender);
}

/* RFC 7617 2, RFC 6750 2.1. */
static void write_authorization(struct buf *out, const struct settings_receiver *settings)
{
    struct str secret = settings->secret.material;
    if (settings->user.len == 0) {
        buf_printf(out, "Authorization: Bearer %.*s", STR_ARG(secret));
        return;
    }
    struct buf pair = {0};
    buf_printf(&pair, "%.*s:%.*s", STR_ARG(settings->user), STR_ARG(secret));
    buf_append_str(out, STR("Authorization: Basic "));
    uint8_t *room = buf_reserve(out, base64_encoded_len(pair.len, BASE64_STANDARD));
    if (room && !buf_err(&pair)) {
        out->len += base64_encode((char *)room, pair.data, pair.len, BASE64_STANDARD);
    }
    if (pair.data) {
        explicit_bzero(pair.data, pair.len);
    }
    buf_fini(&pair);
}

static void write_url(struct buf *out, const struct settings_receiver *settings)
{
    struct str url = settings->url;
    if (settings->kind == SETTINGS_RECEIVER_ALERTMANAGER) {
        url.len -= url.len > 0 && url.ptr[url.len - 1] == '/';
        buf_append_str(out, url);
        buf_append_str(out, STR("/api/v2/alerts"));
    } else {
        buf_append_str(out, url);
    }
}

static int start_request(struct receiver *receiver, struct str body)
{
    const struct settings_receiver *settings = receiver->settings;
    struct buf url = {0};
    struct buf authorization = {0};
    struct str headers[2] = {STR("Content-Type: application/json")};
    write_url(&url, settings);
    if (settings->secret.material.len > 0) {
        write_authorization(&authorization, settings);
        headers[1] = buf_str(&authorization);
    }
    struct fetch_request request = {.url = buf_str(&url),
                                    .is_post = true,
                                    .body = body,
                                    .headers = headers,
                                    .header_count = headers[1].len ? 2 : 1,
                                    .timeout_ms = settings->timeout_ms,
                                    .response_bytes = ANSWER_BYTES};
    int err = buf_err(&url) ? buf_err(&url) : buf_err(&authorization);
    err = err ? err
              : fetch_start(&receiver->fetch, receiver->sender->fetcher, &request, on_done,
                            receiver);
    if (authorization.data) {
        explicit_bzero(authorization.data, authorization.len);
    }
    buf_fini(&authorization);
    buf_fini(&url);
    return err;
}

static void tell(struct receiver *receiver, uint64_t now_ms)
{
    struct alert_sender *sender = receiver->sender;
    struct alert_notice notice = {.receiver = index_of(receiver),
                                  .kind = receiver->settings->kind,
                                  .now_ms = now_ms,
                                  .wall_ms = clock_wall_ms()};
    struct buf body = {0};
    size_t count = alert_notice_write(&body, sender->book, sender->site, &notice);
    int err = count == 0       ? 0
              : buf_err(&body) ? buf_err(&body)
                               : start_request(receiver, buf_str(&body));
    if (err) {
        struct fetch_response none = {.detail = ""};
        on_done(receiver, err, &none);
    }
    buf_fini(&body);
}

void alert_sender_pump(struct alert_sender *sender)
{
    uint64_t now_ms = loop_now_ms(sender->loop);
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < sender->count; i++) {
        struct receiver *receiver = &sender->receivers[i];
        if (receiver->fetch) {
            continue;
        }
        if (now_ms >= receiver->rests_until_ms) {
            tell(receiver, now_ms);
        } else if (receiver->rests_until_ms < next_ms) {
            next_ms = receiver->rests_until_ms;
        }
    }
    if (next_ms != UINT64_MAX) {
        loop_timer_start(sender->loop, &sender->timer, next_ms - now_ms);
    }
}

static void on_timer(struct timer *timer)
{
    struct alert_sender *sender = (struct alert_sender *)((char *)timer -
                                                          offsetof(struct alert_sender, timer));
    alert_sender_pump(sender);
}

/* ---- receivers ---- */

static bool is_same(const struct settings_receiver *a, const struct settings_receiver *b)
{
    return a->kind == b->kind && str_equal(a->url, b->url) && str_equal(a->user, b->user) &&
           str_equal(a->secret.material, b->secret.material);
}

static bool are_same(const struct alert_sender *sender, const struct settings_alerts *settings)
{
    bool same = sender->count == settings->receiver_count;
    for (size_t i = 0; same && i < sender->count; i++) {
        same = is_same(sender->receivers[i].settings, &settings->receivers[i]);
    }
    return same;
}

static void cancel_all(struct alert_sender *sender)
{
    for (size_t i = 0; i < sender->count; i++) {
        fetch_cancel(sender->receivers[i].fetch);
    }
    loop_timer_stop(sender->loop, &sender->timer);
}

static void make_receivers(struct alert_sender *sender, const struct settings_alerts *settings)
{
    memset(sender->receivers, 0, sizeof(sender->receivers));
    sender->count = settings->receiver_count;
    for (size_t i = 0; i < sender->count; i++) {
        sender->receivers[i].sender = sender;
        sender->receivers[i].rest = (struct backoff){RETRY_MS, RETRY_MAX_MS, 0};
    }
    alert_notice_forget(sender->book);
    if (sender->count > 0) {
        make_series();
    }
}

void alert_sender_set_receivers(struct alert_sender *sender)
{
    const struct settings_alerts *settings = sender->site->settings;
    if (!are_same(sender, settings)) {
        cancel_all(sender);
        make_receivers(sender, settings);
    }
    for (size_t i = 0; i < sender->count; i++) {
        sender->receivers[i].settings = &settings->receivers[i];
    }
}

int alert_sender_create(struct alert_sender **out_sender, struct loop *loop,
                        struct fetcher *fetcher, const struct alert_book *book,
                        const struct alert_site *site)
{
    struct alert_sender *sender = mem_zalloc(sizeof(*sender));
    if (!sender) {
        return ERR_NO_MEMORY;
    }
    sender->loop = loop;
    sender->fetcher = fetcher;
    sender->book = book;
    sender->site = site;
    sender->timer.on_fire = on_timer;
    alert_sender_set_receivers(sender);
    *out_sender = sender;
    return 0;
}

void alert_sender_destroy(struct alert_sender *sender)
{
    if (sender) {
        cancel_all(sender);
        mem_free(sender);
    }
}
