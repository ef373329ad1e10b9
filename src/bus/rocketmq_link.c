#include "bus/rocketmq_link.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mail.h"
#include "bus/bus.h"
#include "proto/rocketmq_sign.h"

enum {
    MAX_UNSENT = 64 << 20,
    MAX_UNSENT_ANSWERS = 1 << 16, /* to what the server asks us */
    RETRY_BASE_MS = 800,
    RETRY_MAX_MS = 2000,
    LATE_MS = 200, /* a timer that fires later tells that this process was stopped, or is slow */
    GRACE_MS = 50,
};

/* --- requests --- */

static void request_unlink(struct rocketmq_request *request)
{
    *request->at = request->next;
    if (request->next) {
        request->next->at = request->at;
    }
    request->at = NULL;
    request->next = NULL;
}

void rocketmq_request_forget(struct rocketmq_request *request)
{
    if (request->at) {
        request_unlink(request);
    }
}

static void request_link(struct rocketmq_link *link, struct rocketmq_request *request)
{
    request->next = link->requests;
    request->at = &link->requests;
    if (request->next) {
        request->next->at = &request->next;
    }
    link->requests = request;
}

static struct rocketmq_request *find_request(struct rocketmq_link *link, int32_t opaque)
{
    struct rocketmq_request *request = link->requests;
    while (request && request->opaque != opaque) {
        request = request->next;
    }
    return request;
}

static void fail_requests(struct rocketmq_link *link)
{
    while (link->requests) {
        struct rocketmq_request *request = link->requests;
        request_unlink(request);
        request->on_answer(request, ERR_CLOSED, NULL);
    }
}

/* --- deadlines --- */

static struct rocketmq_request *earliest_request(struct rocketmq_link *link)
{
    struct rocketmq_request *earliest = link->requests;
    for (struct rocketmq_request *request = earliest; request; request = request->next) {
        if (request->due_ms < earliest->due_ms) {
            earliest = request;
        }
    }
    return earliest;
}

static void arm_deadline(struct rocketmq_link *link, uint64_t due_ms)
{
    uint64_t now_ms = loop_now_ms(link->dial->loop);
    link->armed_ms = due_ms;
    loop_timer_start(link->dial->loop, &link->deadline, due_ms > now_ms ? due_ms - now_ms : 0);
}

/* The timer is not moved when a request is answered: it then fires early, which costs less. */
static void watch_deadline(struct rocketmq_link *link, const struct rocketmq_request *request)
{
    if (!timer_is_running(&link->deadline) || request->due_ms < link->armed_ms) {
        arm_deadline(link, request->due_ms);
    }
}

static void expire(struct rocketmq_link *link, struct rocketmq_request *request)
{
    if (request->receipts == link->receipts) {
        rocketmq_link_break(link, "no answer in time");
    } else {
        request_unlink(request);
        request->on_answer(request, ERR_TIMEOUT, NULL);
    }
}

static void on_deadline(struct timer *timer)
{
    struct rocketmq_link *link = MAIL_OWNER(timer, struct rocketmq_link, deadline);
    uint64_t now_ms = loop_now_ms(link->dial->loop);
    struct rocketmq_request *due = earliest_request(link);
    if (due && !link->gave_grace && now_ms > due->due_ms + LATE_MS) {
        link->gave_grace = true;
        arm_deadline(link, now_ms + GRACE_MS);
        return;
    }
    link->gave_grace = false;
    while (due && due->due_ms <= now_ms) {
        expire(link, due);
        due = earliest_request(link);
    }
    if (due) {
        arm_deadline(link, due->due_ms);
    }
}

/* --- the connection --- */

static void schedule_retry(struct rocketmq_link *link)
{
    uint64_t random = 0; /* should there be none, the pause is not spread, that is all */
    ssize_t got = getrandom(&random, sizeof(random), GRND_NONBLOCK);
    random = got == (ssize_t)sizeof(random) ? random : 0;
    loop_timer_start(link->dial->loop, &link->retry, backoff_next_ms(&link->backoff, random));
}

/* Forgets the connection; the stream is gone already or goes now. */
static void drop(struct rocketmq_link *link)
{
    if (link->is_open) {
        atomic_fetch_sub_explicit(&link->dial->stats->links, 1, memory_order_relaxed);
    }
    link->is_open = false;
    link->stream = NULL;
    loop_timer_stop(link->dial->loop, &link->deadline);
    fail_requests(link);
}

static void lose(struct rocketmq_link *link, const char *problem)
{
    drop(link);
    schedule_retry(link);
    link->callbacks->on_lost(link, problem);
}

void rocketmq_link_break(struct rocketmq_link *link, const char *problem)
{
    if (link->stream) {
        stream_close(link->stream);
        lose(link, problem);
    }
}

static void on_open(void *owner)
{
    struct rocketmq_link *link = owner;
    struct bus_stats *stats = link->dial->stats;
    bus_count(&stats->links, 1);
    if (link->was_open) {
        bus_count(&stats->reconnects, 1);
    }
    link->is_open = true;
    link->was_open = true;
    link->received_ms = loop_now_ms(link->dial->loop);
    link->callbacks->on_open(link);
}

static void on_close(void *owner, int err, const char *detail)
{
    lose(owner, err ? detail : "closed by the server");
}

/* A server may ask us, too. Nothing of that concerns a client that keeps its own positions, but an
 * answer is due. */
static void refuse_request(struct rocketmq_link *link, const struct rocketmq_frame *request)
{
    if (request->flag & ROCKETMQ_FLAG_ONEWAY || stream_queued(link->stream) > MAX_UNSENT_ANSWERS) {
        return;
    }
    buf_clear(&link->head);
    if (!rocketmq_frame_write(&link->head, ROCKETMQ_NOT_SUPPORTED, request->opaque,
                              ROCKETMQ_FLAG_RESPONSE, NULL, 0, 0)) {
        stream_write(link->stream, link->head.data, link->head.len);
    }
}

static void take_frame(struct rocketmq_link *link, const struct rocketmq_frame *frame)
{
    if (!rocketmq_frame_is_answer(frame)) {
        refuse_request(link, frame);
        return;
    }
    /* Nobody waits for a late one. */
    struct rocketmq_request *request = find_request(link, frame->opaque);
    if (request) {
        request_unlink(request);
        request->on_answer(request, 0, frame);
    }
}

static ptrdiff_t on_data(void *owner, struct str data)
{
    struct rocketmq_link *link = owner;
    const struct stream *stream = link->stream;
    size_t used = 0;
    link->receipts++;
    link->received_ms = loop_now_ms(link->dial->loop);
    while (link->stream == stream) { /* else an answer made us end it */
        struct rocketmq_frame frame;
        ssize_t len = rocketmq_frame_read(&frame, str_make(data.ptr + used, data.len - used));
        if (len < 0) {
            return len;
        }
        if (len == 0) {
            break;
        }
        used += (size_t)len;
        take_frame(link, &frame);
    }
    return (ptrdiff_t)used;
}

static void connect_now(struct rocketmq_link *link)
{
    static const struct stream_callbacks callbacks = {on_open, on_data, on_close};
    const struct stream_options options = {.host = str_of(link->host),
                                           .port = link->port,
                                           .tls = link->dial->tls,
                                           .connect_timeout_ms = ROCKETMQ_CONNECT_TIMEOUT_MS,
                                           .max_queued = MAX_UNSENT};
    if (stream_open(&link->stream, link->dial->loop, &options, &callbacks, link)) {
        schedule_retry(link); /* no memory: later perhaps */
        return;
    }
    stream_set_max_unconsumed(link->stream, ROCKETMQ_FRAME_MAX);
}

static void on_retry(struct timer *timer)
{
    connect_now(MAIL_OWNER(timer, struct rocketmq_link, retry));
}

/* --- for the owner --- */

void rocketmq_link_init(struct rocketmq_link *link, const struct rocketmq_dial *dial,
                        const struct rocketmq_link_callbacks *callbacks)
{
    *link = (struct rocketmq_link){.dial = dial,
                                   .callbacks = callbacks,
                                   .retry = {.on_fire = on_retry},
                                   .deadline = {.on_fire = on_deadline},
                                   .backoff = {RETRY_BASE_MS, RETRY_MAX_MS, 0}};
}

void rocketmq_link_fini(struct rocketmq_link *link)
{
    if (!link->dial) {
        return;
    }
    while (link->requests) {
        request_unlink(link->requests);
    }
    stream_close(link->stream);
    drop(link);
    loop_timer_stop(link->dial->loop, &link->retry);
    buf_fini(&link->head);
    link->dial = NULL;
}

void rocketmq_link_set_address(struct rocketmq_link *link, struct str host, uint16_t port,
                               bool at_once)
{
    if (str_equal(str_of(link->host), host) && link->port == port) {
        return;
    }
    ASSERT(host.len <= ROCKETMQ_HOST_MAX);
    memcpy(link->host, host.ptr, host.len);
    link->host[host.len] = 0;
    link->port = port;
    if (link->stream) {
        stream_close(link->stream);
        drop(link);
    }
    if (at_once) {
        loop_timer_stop(link->dial->loop, &link->retry);
        connect_now(link);
    } else if (!timer_is_running(&link->retry)) {
        schedule_retry(link);
    }
}

void rocketmq_link_praise(struct rocketmq_link *link)
{
    link->backoff.tries = 0;
}

static int32_t next_opaque(struct rocketmq_link *link)
{
    link->last_opaque = link->last_opaque == INT32_MAX ? 1 : link->last_opaque + 1;
    return link->last_opaque;
}

/* Adds who we are and the proof of it. */
static size_t sign(const struct rocketmq_dial *dial, struct rocketmq_field *fields, size_t count,
                   struct str body, char signature[ROCKETMQ_SIGNATURE_LEN])
{
    if (dial->access_key.len == 0) {
        return count;
    }
    fields[count++] = (struct rocketmq_field){STR("AccessKey"), dial->access_key};
    ASSERT(count < ROCKETMQ_FIELDS_MAX);
    rocketmq_sign(signature, dial->secret_key, fields, count, body);
    fields[count++] = (struct rocketmq_field){STR("Signature"),
                                              str_make(signature, ROCKETMQ_SIGNATURE_LEN)};
    return count;
}

int rocketmq_link_send(struct rocketmq_link *link, struct rocketmq_request *request, int32_t code,
                       struct rocketmq_field *fields, size_t count, struct str body,
                       uint64_t wait_ms)
{
    char signature[ROCKETMQ_SIGNATURE_LEN];
    ASSERT(!request->at && count + 2 <= ROCKETMQ_FIELDS_MAX);
    if (!link->is_open) {
        return ERR_CLOSED;
    }
    int32_t opaque = next_opaque(link);
    count = sign(link->dial, fields, count, body, signature);
    buf_clear(&link->head);
    int err = rocketmq_frame_write(&link->head, code, opaque, 0, fields, count, body.len);
    const struct str pieces[] = {buf_str(&link->head), body};
    if (!err) {
        err = stream_writev(link->stream, pieces, body.len > 0 ? 2 : 1);
    }
    if (err) {
        return err;
    }
    request->opaque = opaque;
    request->receipts = link->receipts;
    request->due_ms = loop_now_ms(link->dial->loop) + link->dial->request_timeout_ms + wait_ms;
    request_link(link, request);
    watch_deadline(link, request);
    return 0;
}
