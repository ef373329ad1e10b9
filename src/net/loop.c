#include "net/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

enum {
    BATCH_MAX = 512,
    TURN_ENDS_MAX = 8,
    IDLE_WAIT_MS = 60000, /* how long an idle loop sleeps; any value would do */
};

struct turn_end {
    bool (*call)(void *owner);
    void *owner;
};

struct loop {
    int epoll_fd;
    bool is_stopped;
    bool has_more; /* a turn's end asked for another turn at once */
    uint64_t now_us;
    void (*on_tag)(void *owner, uint64_t tag, unsigned events);
    void *tag_owner;
    struct turn_end turn_ends[TURN_ENDS_MAX];
    int turn_end_count;
    int batch_at; /* events before it have been dispatched */
    int batch_len;
    struct epoll_event batch[BATCH_MAX];
    _Atomic uint64_t busy_us;
    _Atomic uint64_t period;        /* of longest_us */
    _Atomic uint64_t longest_us[2]; /* the longest turn of it, and of the period before */
    struct timer_wheel timers;
};

int loop_create(struct loop **out_loop)
{
    struct loop *loop = mem_zalloc(sizeof(*loop));
    if (!loop) {
        return -ENOMEM;
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        int err = -errno;
        mem_free(loop);
        return err;
    }
    loop->now_us = clock_monotonic_us();
    timer_wheel_init(&loop->timers, loop_now_ms(loop));
    *out_loop = loop;
    return 0;
}

void loop_destroy(struct loop *loop)
{
    if (loop) {
        close(loop->epoll_fd);
        mem_free(loop);
    }
}

static unsigned from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? LOOP_READABLE : 0u) | (events & EPOLLOUT ? LOOP_WRITABLE : 0u) |
           (events & (EPOLLHUP | EPOLLERR) ? LOOP_HANGUP : 0u);
}

static uint32_t to_epoll(unsigned events)
{
    return (events & LOOP_READABLE ? (uint32_t)EPOLLIN : 0u) |
           (events & LOOP_WRITABLE ? (uint32_t)EPOLLOUT : 0u);
}

static int control(struct loop *loop, int operation, int fd, uint64_t data, unsigned events)
{
    struct epoll_event event = {.events = to_epoll(events), .data.u64 = data};
    return epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned events)
{
    ASSERT(watch->on_ready);
    int err = control(loop, EPOLL_CTL_ADD, fd, (uint64_t)(uintptr_t)watch, events);
    watch->fd = err ? -1 : fd;
    return err;
}

int loop_rewatch(struct loop *loop, struct loop_watch *watch, unsigned events)
{
    return control(loop, EPOLL_CTL_MOD, watch->fd, (uint64_t)(uintptr_t)watch, events);
}

void loop_unwatch(struct loop *loop, struct loop_watch *watch)
{
    if (watch->fd < 0) {
        return;
    }
    control(loop, EPOLL_CTL_DEL, watch->fd, 0, 0);
    watch->fd = -1;
    /* The watch may be freed next, while the batch still holds an event for it. */
    for (int i = loop->batch_at; i < loop->batch_len; i++) {
        if (loop->batch[i].data.u64 == (uint64_t)(uintptr_t)watch) {
            loop->batch[i].data.u64 = 0;
        }
    }
}

int loop_watch_tag(struct loop *loop, int fd, uint64_t tag, unsigned events)
{
    ASSERT(tag & LOOP_TAG);
    return control(loop, EPOLL_CTL_ADD, fd, tag, events);
}

int loop_rewatch_tag(struct loop *loop, int fd, uint64_t tag, unsigned events)
{
    ASSERT(tag & LOOP_TAG);
    return control(loop, EPOLL_CTL_MOD, fd, tag, events);
}

void loop_unwatch_tag(struct loop *loop, int fd)
{
    control(loop, EPOLL_CTL_DEL, fd, 0, 0);
}

void loop_set_tag_handler(struct loop *loop,
                          void (*on_ready)(void *owner, uint64_t tag, unsigned events), void *owner)
{
    loop->on_tag = on_ready;
    loop->tag_owner = owner;
}

int loop_add_turn_end(struct loop *loop, bool (*on_turn_end)(void *owner), void *owner)
{
    if (loop->turn_end_count == TURN_ENDS_MAX) {
        return ERR_TOO_LARGE;
    }
    loop->turn_ends[loop->turn_end_count++] = (struct turn_end){on_turn_end, owner};
    return 0;
}

static void dispatch_batch(struct loop *loop)
{
    while (loop->batch_at < loop->batch_len) {
        struct epoll_event event = loop->batch[loop->batch_at++];
        unsigned events = from_epoll(event.events);
        if (event.data.u64 & LOOP_TAG) {
            loop->on_tag(loop->tag_owner, event.data.u64, events);
        } else if (event.data.u64 != 0) {
            struct loop_watch *watch = (struct loop_watch *)(uintptr_t)event.data.u64;
            watch->on_ready(watch, events);
        }
    }
}

static void run_turn_ends(struct loop *loop)
{
    loop->has_more = false;
    for (int i = 0; i < loop->turn_end_count; i++) {
        loop->has_more |= loop->turn_ends[i].call(loop->turn_ends[i].owner);
    }
}

static int wait_for_events(struct loop *loop, int max_wait_ms)
{
    int wait_ms = 0;
    if (!loop->has_more && max_wait_ms > 0) {
        wait_ms = (int)timer_wheel_next_ms(&loop->timers, clock_monotonic_ms(),
                                           (uint64_t)max_wait_ms);
    }
    int count = epoll_wait(loop->epoll_fd, loop->batch, BATCH_MAX, wait_ms);
    if (count < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    return count;
}

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void store(_Atomic uint64_t *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

static void account_longest(struct loop *loop, uint64_t end_us, uint64_t turn_us)
{
    uint64_t period = end_us / LOOP_PERIOD_US;
    uint64_t before = load(&loop->period);
    if (period != before) {
        store(&loop->longest_us[1], period == before + 1 ? load(&loop->longest_us[0]) : 0);
        store(&loop->longest_us[0], 0);
        store(&loop->period, period);
    }
    if (turn_us > load(&loop->longest_us[0])) {
        store(&loop->longest_us[0], turn_us);
    }
}

static void account_turn(struct loop *loop)
{
    uint64_t end_us = clock_monotonic_us();
    atomic_fetch_add_explicit(&loop->busy_us, end_us - loop->now_us, memory_order_relaxed);
    account_longest(loop, end_us, end_us - loop->now_us);
}

int loop_turn(struct loop *loop, int max_wait_ms)
{
    int count = wait_for_events(loop, max_wait_ms);
    if (count < 0) {
        return count;
    }
    loop->now_us = clock_monotonic_us();
    loop->batch_at = 0;
    loop->batch_len = count;
    timer_wheel_advance(&loop->timers, loop_now_ms(loop));
    dispatch_batch(loop);
    loop->batch_len = 0;
    run_turn_ends(loop);
    account_turn(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    int err = 0;
    loop->is_stopped = false;
    while (!err && !loop->is_stopped) {
        err = loop_turn(loop, IDLE_WAIT_MS);
    }
    return err;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopped = true;
}

struct timer_wheel *loop_timers(struct loop *loop)
{
    return &loop->timers;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_us / 1000;
}

uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

void loop_timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms)
{
    timer_start(&loop->timers, timer, loop_now_ms(loop), delay_ms);
}

void loop_timer_stop(struct loop *loop, struct timer *timer)
{
    timer_stop(&loop->timers, timer);
}

uint64_t loop_busy_us(const struct loop *loop)
{
    return atomic_load_explicit(&loop->busy_us, memory_order_relaxed);
}

/* A period that begins while this reads costs one sample, nothing more. */
uint64_t loop_longest_turn_us(const struct loop *loop, uint64_t now_us)
{
    uint64_t age = now_us / LOOP_PERIOD_US - load(&loop->period);
    uint64_t newer = load(&loop->longest_us[0]);
    uint64_t older = load(&loop->longest_us[1]);
    if (age == 0) {
        return newer > older ? newer : older;
    }
    return age == 1 ? newer : 0;
}
