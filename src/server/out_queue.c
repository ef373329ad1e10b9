#include "server/out_queue.h"

#include "base/err.h"
#include "base/mem.h"
#include "net/link.h"

enum { SEND_FRAMES = 64, POOL_NODES = 65536, POOL_QUEUES = 16384 };

static struct out_node *alloc_node(struct out_pool *pool)
{
    struct out_node *node = pool->nodes;
    if (node) {
        pool->nodes = node->next;
        pool->node_count--;
        return node;
    }
    node = mem_alloc(sizeof(*node));
    if (node) {
        mem_account(MEM_QUEUES, sizeof(*node));
    }
    return node;
}

static void free_node(struct out_pool *pool, struct out_node *node)
{
    if (pool->node_count < POOL_NODES) {
        node->next = pool->nodes;
        pool->nodes = node;
        pool->node_count++;
        return;
    }
    mem_account(MEM_QUEUES, -(int64_t)sizeof(*node));
    mem_free(node);
}

static void release_queue(struct out_queue *queue)
{
    mem_account(MEM_QUEUES, -(int64_t)sizeof(*queue));
    mem_free(queue);
}

void out_pool_fini(struct out_pool *pool)
{
    while (pool->nodes) {
        struct out_node *node = pool->nodes;
        pool->nodes = node->next;
        mem_account(MEM_QUEUES, -(int64_t)sizeof(*node));
        mem_free(node);
    }
    while (pool->queues) {
        struct out_queue *queue = pool->queues;
        pool->queues = queue->next_free;
        release_queue(queue);
    }
    *pool = (struct out_pool){0};
}

struct out_queue *out_queue_create(struct out_pool *pool)
{
    struct out_queue *queue = pool->queues;
    if (queue) {
        pool->queues = queue->next_free;
        pool->queue_count--;
    } else {
        queue = mem_alloc(sizeof(*queue));
        if (!queue) {
            return NULL;
        }
        mem_account(MEM_QUEUES, sizeof(*queue));
    }
    *queue = (struct out_queue){0};
    queue->last = &queue->first;
    return queue;
}

/* One thread writes. */
static void add_bytes(struct out_pool *pool, struct out_queue *queue, int64_t bytes)
{
    uint64_t sum = atomic_load_explicit(&pool->bytes, memory_order_relaxed);
    atomic_store_explicit(&pool->bytes, sum + (uint64_t)bytes, memory_order_relaxed);
    queue->bytes += (uint32_t)bytes;
}

static void close_held(const struct frame *frame)
{
    if (frame->holds_receipt) {
        receipt_close(frame->receipt);
    }
}

static void tell_dropped(struct frame *frame, enum receipt_drop why)
{
    if (frame->receipt && !frame->wants_ack) {
        receipt_drop(frame->receipt, why, 1);
        close_held(frame);
    }
}

static void tell_written(struct frame *frame)
{
    if (frame->receipt) {
        atomic_fetch_add_explicit(&frame->receipt->written, 1, memory_order_relaxed);
        if (frame->is_own_ack) {
            receipt_ack(frame->receipt);
        }
        close_held(frame);
    }
}

static uint32_t drop_from(struct out_pool *pool, struct out_node **link, enum receipt_drop why)
{
    uint32_t count = 0;
    while (*link) {
        struct out_node *node = *link;
        *link = node->next;
        tell_dropped(node->frame, why);
        frame_unref(node->frame);
        free_node(pool, node);
        count++;
    }
    return count;
}

static uint32_t unsent_of(const struct out_node *node)
{
    return node->frame->len - node->sent;
}

/* Behind the frames that are on their way: held bytes of them the TLS library has, and will take
 * nothing else in their place. */
static struct out_node **link_behind(struct out_queue *queue, size_t held, uint32_t *out_bytes)
{
    struct out_node **at = &queue->first;
    *out_bytes = 0;
    while (*at && (held > 0 || (*at)->sent > 0)) {
        uint32_t unsent = unsent_of(*at);
        held -= held < unsent ? held : unsent;
        *out_bytes += unsent;
        at = &(*at)->next;
    }
    return at;
}

uint32_t out_queue_trim(struct out_pool *pool, struct out_queue *queue, size_t held,
                        enum receipt_drop why)
{
    uint32_t kept;
    queue->last = link_behind(queue, held, &kept);
    add_bytes(pool, queue, (int64_t)kept - queue->bytes);
    uint32_t count = drop_from(pool, queue->last, why);
    queue->frames -= count;
    frame_unref(queue->pong);
    queue->pong = NULL;
    return count;
}

bool out_queue_is_of_message(const struct frame *frame, const struct out_drop *drop)
{
    return drop->value && frame->id == drop->value;
}

bool out_queue_is_of_key(const struct frame *frame, const struct out_drop *drop)
{
    bool is_of_key = drop->value && frame->collapse == drop->value;
    bool ends_later = drop->until_ms && (!frame->expires_ms || frame->expires_ms > drop->until_ms);
    return is_of_key && !ends_later;
}

bool out_queue_is_expired(const struct frame *frame, const struct out_drop *drop)
{
    return frame->expires_ms && frame->expires_ms <= drop->value;
}

static void drop_node(struct out_pool *pool, struct out_queue *queue, struct out_node **link,
                      const struct out_drop *drop)
{
    struct out_node *node = *link;
    *link = node->next;
    add_bytes(pool, queue, -(int64_t)unsent_of(node));
    queue->frames--;
    tell_dropped(node->frame, drop->why);
    if (drop->on_drop) {
        drop->on_drop(drop->owner, node->frame, drop->why);
    }
    frame_unref(node->frame);
    free_node(pool, node);
}

static void note_expiry(struct out_queue *queue, const struct frame *frame)
{
    if (frame->expires_ms &&
        (!queue->next_expiry_ms || frame->expires_ms < queue->next_expiry_ms)) {
        queue->next_expiry_ms = frame->expires_ms;
    }
}

static bool may_look(const struct out_drop *drop)
{
    if (drop->budget && *drop->budget == 0) {
        return false;
    }
    if (drop->budget) {
        (*drop->budget)--;
    }
    return true;
}

uint32_t out_queue_drop(struct out_pool *pool, struct out_queue *queue, size_t held,
                        const struct out_drop *drop)
{
    uint32_t count = 0;
    uint32_t ignored;
    uint64_t expiry_ms = queue->next_expiry_ms;
    struct out_node **link = link_behind(queue, held, &ignored);
    queue->next_expiry_ms = 0;
    while (*link && may_look(drop)) {
        if (drop->matches((*link)->frame, drop)) {
            drop_node(pool, queue, link, drop);
            count++;
        } else {
            note_expiry(queue, (*link)->frame);
            link = &(*link)->next;
        }
    }
    if (*link) {
        queue->next_expiry_ms = expiry_ms; /* the others were not looked at */
    } else {
        queue->last = link;
    }
    return count;
}

void out_queue_destroy(struct out_pool *pool, struct out_queue *queue)
{
    if (!queue) {
        return;
    }
    add_bytes(pool, queue, -(int64_t)queue->bytes);
    drop_from(pool, &queue->first, RECEIPT_CLOSED);
    frame_unref(queue->pong);
    if (pool->queue_count < POOL_QUEUES) {
        queue->next_free = pool->queues;
        pool->queues = queue;
        pool->queue_count++;
    } else {
        release_queue(queue);
    }
}

int out_queue_add(struct out_pool *pool, struct out_queue *queue, struct frame *frame,
                  uint32_t sent, uint32_t tick)
{
    struct out_node *node = alloc_node(pool);
    if (!node) {
        return ERR_NO_MEMORY;
    }
    *node = (struct out_node){.frame = frame_ref(frame), .sent = sent, .tick = tick};
    *queue->last = node;
    queue->last = &node->next;
    add_bytes(pool, queue, frame->len - sent);
    queue->frames++;
    queue->has_collapse = queue->has_collapse || frame->collapse;
    note_expiry(queue, frame);
    return 0;
}

/* The pong goes between two frames, never into one. */
static void place_pong(struct out_pool *pool, struct out_queue *queue, size_t held)
{
    if (!queue->pong) {
        return;
    }
    struct out_node *node = alloc_node(pool);
    if (!node) {
        return;
    }
    *node = (struct out_node){.frame = queue->pong};
    uint32_t bytes;
    struct out_node **at = link_behind(queue, held, &bytes);
    node->tick = queue->first ? queue->first->tick : 0;
    node->next = *at;
    *at = node;
    if (!node->next) {
        queue->last = &node->next;
    }
    add_bytes(pool, queue, queue->pong->len);
    queue->frames++;
    queue->pong = NULL;
}

static ssize_t send_frames(const struct out_queue *queue, int fd, struct tls_conn *tls)
{
    struct iovec parts[SEND_FRAMES];
    size_t count = 0;
    for (const struct out_node *node = queue->first; node && count < SEND_FRAMES;
         node = node->next) {
        parts[count++] = (struct iovec){node->frame->bytes + node->sent, unsent_of(node)};
    }
    return link_write(fd, tls, parts, count);
}

static void note_sent(struct out_sent *out_sent, const struct frame *frame)
{
    out_sent->frames++;
    if (!out_sent->received_us) {
        out_sent->received_us = frame->received_us;
        out_sent->way_us = frame->way_us;
    }
}

static void take_sent(struct out_pool *pool, struct out_queue *queue, size_t sent,
                      struct out_sent *out_sent)
{
    add_bytes(pool, queue, -(int64_t)sent);
    out_sent->bytes += sent;
    while (sent > 0) {
        struct out_node *node = queue->first;
        uint32_t left = unsent_of(node);
        if (sent < left) {
            node->sent += (uint32_t)sent;
            return;
        }
        sent -= left;
        queue->first = node->next;
        queue->frames--;
        tell_written(node->frame);
        note_sent(out_sent, node->frame);
        frame_unref(node->frame);
        free_node(pool, node);
    }
    if (!queue->first) {
        queue->last = &queue->first;
    }
}

int out_queue_send(struct out_pool *pool, struct out_queue *queue, int fd, struct tls_conn *tls,
                   struct out_sent *out_sent)
{
    *out_sent = (struct out_sent){0};
    place_pong(pool, queue, link_held(tls));
    while (queue->first) {
        ssize_t sent = send_frames(queue, fd, tls);
        if (sent == -EINTR) {
            continue;
        }
        if (sent < 0) {
            return sent == -EAGAIN ? 0 : (int)sent;
        }
        take_sent(pool, queue, (size_t)sent, out_sent);
        if (!tls && queue->first && queue->first->sent > 0) {
            return 0; /* cut in the middle of a frame: the socket is full */
        }
    }
    return 1;
}
