#include "receiver.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench_util.h"

enum {
    INFLATE_EVERY = 64, /* one deflated message of so many is inflated and checked */
    INFLATE_ROOM = 256 * 1024,
};

static void on_ready(void *owner, struct ws_client *client)
{
    struct receiver *receiver = owner;
    receiver->ready++;
    receiver->pending--;
}

static void on_lost(void *owner, struct ws_client *client, bool was_ready, const char *why)
{
    struct receiver *receiver = owner;
    receiver->ready -= was_ready;
    receiver->pending -= !was_ready;
    receiver->lost++;
    if (!receiver->first_loss[0]) {
        snprintf(receiver->first_loss, sizeof(receiver->first_loss), "%s", why);
    }
}

/* Returns what follows the label when at stands on it, NULL otherwise. */
static const char *number_at(const char *at, const char *end, const char *label,
                             uint64_t *out_value)
{
    size_t len = strlen(label);
    if ((size_t)(end - at) < len || memcmp(at, label, len) != 0) {
        return NULL;
    }
    return bench_get_u64(at + len, end, out_value);
}

static void check_payload(struct receiver *receiver, struct ws_client *client, const char *at,
                          const char *end, uint64_t now)
{
    uint64_t sent;
    uint64_t phase;
    uint64_t seq;
    uint64_t user;
    at = number_at(at, end, "\"clk\":", &sent);
    at = at ? number_at(at, end, ",\"p\":", &phase) : NULL;
    at = at ? number_at(at, end, ",\"n\":", &seq) : NULL;
    if (!at || phase != receiver->phase) {
        receiver->counts.stray++;
        return;
    }
    receiver->counts.delivered++;
    histogram_add(&receiver->latency, now > sent ? now - sent : 0);
    if (seq != client->next_seq && !client->deflated) {
        receiver->counts.out_of_order++;
    }
    client->next_seq = (uint32_t)seq + 1;
    if (receiver->check_user &&
        (!number_at(at, end, ",\"u\":", &user) || user != ws_client_user(client))) {
        receiver->counts.misrouted++;
    }
}

/* A frame may hold several messages, in an array. */
static void check_text(struct receiver *receiver, struct ws_client *client, const uint8_t *data,
                       size_t len)
{
    const char *at = (const char *)data;
    const char *end = at + len;
    uint64_t now = bench_now_ns();
    receiver->last_delivery_ns = now;
    while ((at = memmem(at, (size_t)(end - at), "\"clk\":", 6)) != NULL) {
        check_payload(receiver, client, at, end, now);
        at += 6;
    }
}

static void inflate_and_check(struct receiver *receiver, struct ws_client *client,
                              const uint8_t *data, size_t len)
{
    static uint8_t text[INFLATE_ROOM];
    z_stream *inflater = &receiver->inflater;
    const uint8_t tail[] = {0x00, 0x00, 0xff, 0xff}; /* RFC 7692 7.2.2 */
    inflateReset(inflater);
    inflater->next_out = text;
    inflater->avail_out = sizeof(text);
    inflater->next_in = (uint8_t *)data;
    inflater->avail_in = (unsigned)len;
    int result = inflate(inflater, Z_SYNC_FLUSH);
    if (result == Z_OK || result == Z_BUF_ERROR) {
        inflater->next_in = (uint8_t *)tail;
        inflater->avail_in = sizeof(tail);
        result = inflate(inflater, Z_SYNC_FLUSH);
    }
    if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END) {
        receiver->counts.broken++;
        return;
    }
    receiver->counts.inflated++;
    check_text(receiver, client, text, sizeof(text) - inflater->avail_out);
}

static void on_message(void *owner, struct ws_client *client, const uint8_t *data, size_t len,
                       bool compressed)
{
    struct receiver *receiver = owner;
    receiver->counts.bytes += len;
    if (!compressed) {
        check_text(receiver, client, data, len);
    } else if (receiver->counts.compressed++ % INFLATE_EVERY == 0) {
        inflate_and_check(receiver, client, data, len);
    } else {
        receiver->counts.delivered++;
        receiver->last_delivery_ns = bench_now_ns();
    }
}

void receiver_init(struct receiver *receiver, const struct ws_client_config *config, uint32_t count)
{
    *receiver = (struct receiver){.config = *config, .count = count};
    receiver->config.on_ready = on_ready;
    receiver->config.on_lost = on_lost;
    receiver->config.on_message = on_message;
    receiver->config.owner = receiver;
    receiver->config.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    receiver->progress.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    receiver->progress.wake_at = UINT64_MAX;
    if (receiver->config.epoll_fd < 0 || receiver->progress.wake_fd < 0) {
        bench_die("no descriptors for epoll");
    }
    if (inflateInit2(&receiver->inflater, -15) != Z_OK) {
        bench_die("inflateInit2");
    }
    receiver->clients = bench_zalloc(count, sizeof(*receiver->clients));
    for (uint32_t i = 0; i < count; i++) {
        receiver->clients[i].config = &receiver->config;
        receiver->clients[i].index = i;
        receiver->clients[i].fd = -1;
    }
}

static void tell_progress(struct receiver *receiver)
{
    struct progress *progress = &receiver->progress;
    uint64_t delivered = receiver->counts.delivered;
    atomic_store(&progress->delivered, delivered);
    if (delivered >= atomic_load(&progress->wake_at)) {
        atomic_store(&progress->wake_at, UINT64_MAX);
        eventfd_write(progress->wake_fd, 1);
    }
}

void receiver_poll(struct receiver *receiver, int timeout_ms)
{
    struct epoll_event events[1024];
    int count = epoll_wait(receiver->config.epoll_fd, events, 1024, timeout_ms);
    for (int i = 0; i < count; i++) {
        ws_client_on_event(&receiver->clients[events[i].data.u32], events[i].events);
    }
    if (count > 0) {
        tell_progress(receiver);
    }
}

void receiver_rest(struct receiver *receiver, uint64_t rest_ms)
{
    uint64_t end = bench_now_ns() + rest_ms * 1000000;
    for (uint64_t now = bench_now_ns(); now < end; now = bench_now_ns()) {
        receiver_poll(receiver, (int)((end - now) / 1000000) + 1);
    }
}

void receiver_open(struct receiver *receiver, uint32_t from, uint32_t to, uint32_t window,
                   uint64_t timeout_ms)
{
    uint64_t deadline = bench_now_ns() + timeout_ms * 1000000;
    uint32_t next = from;
    while ((next < to || receiver->pending) && bench_now_ns() < deadline) {
        while (next < to && (window == 0 || receiver->pending < window)) {
            receiver->pending++;
            ws_client_connect(&receiver->clients[next++]);
        }
        receiver_poll(receiver, 50);
    }
}

void receiver_begin_phase(struct receiver *receiver, unsigned phase, bool check_user)
{
    receiver->phase = phase;
    receiver->check_user = check_user;
    receiver->counts = (struct receiver_counts){0};
    receiver->latency = (struct histogram){0};
    receiver->last_delivery_ns = bench_now_ns();
    atomic_store(&receiver->progress.delivered, 0);
    atomic_store(&receiver->progress.wake_at, UINT64_MAX);
    for (uint32_t i = 0; i < receiver->count; i++) {
        receiver->clients[i].next_seq = 0;
    }
}

void receiver_close_all(struct receiver *receiver, bool abort)
{
    for (uint32_t i = 0; i < receiver->count; i++) {
        ws_client_close(&receiver->clients[i], abort);
    }
    receiver->ready = 0;
    receiver->pending = 0;
}
