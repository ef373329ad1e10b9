#include "bus/redis_link.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/stream.h"

enum {
    MAX_QUEUED = 256 * 1024 * 1024, /* a record for each of 64 queues is more than ever waits */
    GRACE_MS = 50,                  /* see on_due */
    PATIENCE = 10,                  /* timeouts that one answer may take while it is coming */
};

struct request {
    redis_answer_cb on_answer;
    uint32_t tag;
    uint64_t due_ms; /* monotonic */
};

struct redis_link {
    struct loop *loop;
    struct stream *stream;
    struct redis_reader *reader;
    const struct redis_link_callbacks *callbacks;
    void *owner;
    struct redis_address address;
    struct buf sign_in;                             /* sent when the connection is open */
    struct buf out;                                 /* gathered since the last flush */
    struct request pending[REDIS_LINK_MAX_PENDING]; /* a ring */
    uint32_t first, count;
    struct timer due;
    bool is_late; /* the first request passed its time once */
    uint64_t timeout_ms;
    uint64_t heard_ms; /* when bytes came last; monotonic */
    int err;           /* why it fails, and … */
    char reason[REDIS_LINK_REASON_MAX];
    bool in_callback; /* then it is freed behind it */
    bool is_closed;
};

static void free_link(struct redis_link *link)
{
    loop_timer_stop(link->loop, &link->due);
    stream_close(link->stream);
    redis_reader_destroy(link->reader);
    if (link->sign_in.data) {
        explicit_bzero(link->sign_in.data, link->sign_in.cap); /* the password */
    }
    buf_fini(&link->sign_in);
    buf_fini(&link->out);
    mem_account(MEM_BUS, -(int64_t)sizeof(*link));
    mem_free(link);
}

void redis_link_close(struct redis_link *link)
{
    if (!link) {
        return;
    }
    link->is_closed = true;
    if (!link->in_callback) {
        free_link(link);
    }
}

/* Runs once: behind it the link is gone. */
static void tell_close(struct redis_link *link)
{
    char reason[REDIS_ADDRESS_TEXT_MAX + REDIS_LINK_REASON_MAX], address[REDIS_ADDRESS_TEXT_MAX];
    snprintf(reason, sizeof(reason), "%s: %s", redis_address_format(&link->address, address),
             link->reason);
    link->in_callback = true;
    link->callbacks->on_close(link->owner, link->err, reason);
    free_link(link);
}

static void on_failed(struct timer *timer)
{
    tell_close((struct redis_link *)((char *)timer - offsetof(struct redis_link, due)));
}

void redis_link_fail(struct redis_link *link, int err, const char *why)
{
    if (link->err) {
        return;
    }
    link->err = err;
    snprintf(link->reason, sizeof(link->reason), "%s", why);
    stream_close(link->stream);
    link->stream = NULL;
    link->due.on_fire = on_failed;
    loop_timer_start(link->loop, &link->due, 0);
}

/* ---- requests ---- */

static struct request *first_request(struct redis_link *link)
{
    return link->count ? &link->pending[link->first] : NULL;
}

/* A large answer over a slow line is one that comes; but not for ever. */
static uint64_t due_ms(const struct redis_link *link, const struct request *request)
{
    uint64_t last_ms = request->due_ms + (PATIENCE - 1) * link->timeout_ms;
    uint64_t heard_ms = link->heard_ms + link->timeout_ms;
    heard_ms = heard_ms < last_ms ? heard_ms : last_ms;
    return heard_ms > request->due_ms ? heard_ms : request->due_ms;
}

/* A process that stood still finds its answers behind its timers: it looks at them once more. */
static void on_due(struct timer *timer)
{
    struct redis_link *link = (struct redis_link *)((char *)timer -
                                                    offsetof(struct redis_link, due));
    struct request *request = first_request(link);
    uint64_t now_ms = loop_now_ms(link->loop);
    if (!request) {
        return;
    }
    if (due_ms(link, request) > now_ms) {
        link->is_late = false;
        loop_timer_start(link->loop, &link->due, due_ms(link, request) - now_ms);
    } else if (!link->is_late) {
        link->is_late = true;
        loop_timer_start(link->loop, &link->due, GRACE_MS);
    } else {
        redis_link_fail(link, ERR_TIMEOUT, "does not answer");
    }
}

static void expect(struct redis_link *link, redis_answer_cb on_answer, uint32_t tag,
                   uint64_t extra_ms)
{
    uint32_t place = (link->first + link->count++) % REDIS_LINK_MAX_PENDING;
    uint64_t wait_ms = link->timeout_ms + extra_ms;
    link->pending[place] = (struct request){
        .on_answer = on_answer, .tag = tag, .due_ms = loop_now_ms(link->loop) + wait_ms};
    if (!timer_is_running(&link->due)) {
        link->due.on_fire = on_due;
        loop_timer_start(link->loop, &link->due, wait_ms);
    }
}

/* Written in place (RESP 2): hiredis would make a copy of the record, and of the password. */
static int append_command(struct buf *out, const struct str *words, size_t count)
{
    size_t before = out->len;
    buf_printf(out, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "$%zu\r\n", words[i].len);
        buf_append_str(out, words[i]);
        buf_append_str(out, STR("\r\n"));
    }
    int err = buf_err(out);
    if (err) {
        out->len = before;
        out->err = 0; /* what is in it may go */
    }
    return err;
}

int redis_link_send(struct redis_link *link, const struct str *words, size_t count,
                    redis_answer_cb on_answer, uint32_t tag, uint64_t extra_ms)
{
    if (link->err || link->count == REDIS_LINK_MAX_PENDING) {
        return ERR_UNAVAILABLE;
    }
    int err = append_command(&link->out, words, count);
    if (!err) {
        expect(link, on_answer, tag, extra_ms);
    }
    return err;
}

void redis_link_flush(struct redis_link *link)
{
    if (link->err || link->out.len == 0) {
        return;
    }
    int err = stream_write(link->stream, link->out.data, link->out.len);
    buf_clear(&link->out);
    if (err) {
        redis_link_fail(link, err, "more waits to be sent than is allowed");
    }
}

/* ---- signing in ---- */

enum { STEP_AUTH, STEP_SELECT, STEP_NAME, STEP_ROLE };

static void fail_explained(struct redis_link *link, const struct redis_reply *reply)
{
    char reason[REDIS_LINK_REASON_MAX];
    redis_link_explain(reply, reason);
    redis_link_fail(link, reply->type == REDIS_REPLY_IS_ERROR ? ERR_DENIED : ERR_PROTOCOL, reason);
}

/* A server that does not know AUTH may say its arguments back: its own words are not shown. */
static void fail_auth(struct redis_link *link, const struct redis_reply *reply)
{
    bool is_ours = redis_reply_is_error(reply, STR("WRONGPASS")) || redis_link_is_stale(reply) ||
                   redis_reply_is_error(reply, STR("ERR max number of clients reached")) ||
                   reply->type != REDIS_REPLY_IS_ERROR;
    if (is_ours) {
        fail_explained(link, reply);
    } else {
        redis_link_fail(link, ERR_DENIED, "it refuses the password, or has none set");
    }
}

static void on_role(struct redis_link *link, const struct redis_reply *reply)
{
    struct str role = redis_reply_item(reply, 0)->text;
    if (reply->type != REDIS_REPLY_IS_ARRAY) {
        fail_explained(link, reply);
    } else if (!str_equal(role, STR("master"))) {
        redis_link_fail(link, ERR_UNAVAILABLE, "it is a replica, not the master");
    }
}

static bool is_ok(const struct redis_reply *reply)
{
    return reply->type == REDIS_REPLY_IS_TEXT && str_equal(reply->text, STR("OK"));
}

/* The last step's answer opens the link. A name is a courtesy: who may not give one goes on. */
static void on_sign_in(struct redis_link *link, uint32_t step, const struct redis_reply *reply)
{
    if (step == STEP_AUTH && !is_ok(reply)) {
        fail_auth(link, reply);
    } else if (step == STEP_SELECT && !is_ok(reply)) {
        fail_explained(link, reply);
    } else if (step == STEP_ROLE) {
        on_role(link, reply);
    }
}

static void on_step(void *owner, uint32_t tag, const struct redis_reply *reply);

static int add_step(struct redis_link *link, uint32_t step, const struct str *words, size_t count)
{
    int err = append_command(&link->sign_in, words, count);
    if (!err) {
        expect(link, on_step, step, 0);
    }
    return err;
}

static int add_auth(struct redis_link *link, const struct redis_link_options *options)
{
    struct str words[] = {STR("AUTH"), options->user, options->password};
    struct str short_words[] = {STR("AUTH"), options->password};
    if (options->password.len == 0) {
        return 0;
    }
    return options->user.len ? add_step(link, STEP_AUTH, words, 3)
                             : add_step(link, STEP_AUTH, short_words, 2);
}

static int add_select(struct redis_link *link, const struct redis_link_options *options)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", options->db);
    struct str words[] = {STR("SELECT"), str_of(number)};
    return options->db ? add_step(link, STEP_SELECT, words, 2) : 0;
}

static int add_steps(struct redis_link *link, const struct redis_link_options *options)
{
    struct str name[] = {STR("CLIENT"), STR("SETNAME"), options->client_name};
    struct str role[] = {STR("ROLE")};
    struct str ping[] = {STR("PING")};
    int err = add_auth(link, options);
    err = err ? err : add_select(link, options);
    if (!err && options->client_name.len) {
        err = add_step(link, STEP_NAME, name, 3);
    }
    if (err) {
        return err;
    }
    return options->must_be_master ? add_step(link, STEP_ROLE, role, 1)
                                   : add_step(link, STEP_NAME, ping, 1);
}

/* ---- what comes ---- */

static void on_step(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    struct redis_link *link = owner;
    on_sign_in(link, tag, reply);
    if (link->count == 0 && !link->err) {
        link->callbacks->on_ready(link->owner);
    }
}

static bool is_message(const struct redis_link *link, const struct redis_reply *reply)
{
    return link->callbacks->on_message && reply->type == REDIS_REPLY_IS_ARRAY &&
           reply->count == 3 && str_equal(redis_reply_item(reply, 0)->text, STR("message"));
}

static void on_reply(struct redis_link *link, const struct redis_reply *reply)
{
    struct request *request = first_request(link);
    if (is_message(link, reply)) {
        link->callbacks->on_message(link->owner, reply);
    } else if (!request) {
        fail_explained(link, reply); /* "-ERR max number of clients reached" comes unasked */
    } else {
        redis_answer_cb on_answer = request->on_answer;
        uint32_t tag = request->tag;
        link->first = (link->first + 1) % REDIS_LINK_MAX_PENDING;
        link->count--;
        link->is_late = false;
        on_answer(on_answer == on_step ? link : link->owner, tag, reply);
    }
}

static void read_replies(struct redis_link *link)
{
    while (!link->err && !link->is_closed) {
        const struct redis_reply *reply = NULL;
        int err = redis_reader_next(link->reader, &reply);
        if (err) {
            redis_link_fail(link, err,
                            err == ERR_PROTOCOL ? "it does not speak Redis's protocol"
                                                : "an answer is over the limit");
        }
        if (err || !reply) {
            return;
        }
        on_reply(link, reply);
    }
}

/* The bytes are all taken; a link that failed or was closed within has no stream to return to. */
static ptrdiff_t on_data(void *owner, struct str data)
{
    struct redis_link *link = owner;
    link->heard_ms = loop_now_ms(link->loop);
    int err = redis_reader_feed(link->reader, data);
    if (err) {
        redis_link_fail(link, err, "an answer is over the limit");
        return (ptrdiff_t)data.len;
    }
    link->in_callback = true;
    read_replies(link);
    link->in_callback = false;
    if (link->is_closed) {
        free_link(link);
    } else {
        redis_link_flush(link);
    }
    return (ptrdiff_t)data.len;
}

static void on_open(void *owner)
{
    struct redis_link *link = owner;
    int err = stream_write(link->stream, link->sign_in.data, link->sign_in.len);
    explicit_bzero(link->sign_in.data, link->sign_in.cap);
    buf_clear(&link->sign_in);
    if (err) {
        redis_link_fail(link, err, err_str(err));
    }
}

static void on_close(void *owner, int err, const char *detail)
{
    struct redis_link *link = owner;
    link->stream = NULL; /* it frees itself */
    link->err = err ? err : ERR_CLOSED;
    snprintf(link->reason, sizeof(link->reason), "%s", err ? detail : "it closed the connection");
    tell_close(link);
}

static const struct stream_callbacks stream_callbacks = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close};

static int open_parts(struct redis_link *link, const struct redis_link_options *options)
{
    struct stream_options stream = {.host = str_of(options->address.host),
                                    .port = options->address.port,
                                    .tls = options->tls,
                                    .connect_timeout_ms = options->timeout_ms,
                                    .max_queued = MAX_QUEUED};
    int err = redis_reader_create(&link->reader, options->max_reply);
    err = err ? err : add_steps(link, options);
    return err ? err : stream_open(&link->stream, link->loop, &stream, &stream_callbacks, link);
}

int redis_link_open(struct redis_link **out_link, struct loop *loop,
                    const struct redis_link_options *options,
                    const struct redis_link_callbacks *callbacks, void *owner)
{
    struct redis_link *link = mem_zalloc(sizeof(*link));
    if (!link) {
        return ERR_NO_MEMORY;
    }
    mem_account(MEM_BUS, (int64_t)sizeof(*link));
    link->loop = loop;
    link->callbacks = callbacks;
    link->owner = owner;
    link->address = options->address;
    link->timeout_ms = options->timeout_ms;
    int err = open_parts(link, options);
    if (err) {
        free_link(link);
        return err;
    }
    *out_link = link;
    return 0;
}

size_t redis_link_reply_bytes(const struct redis_link *link)
{
    return redis_reader_reply_bytes(link->reader);
}

const struct redis_address *redis_link_address(const struct redis_link *link)
{
    return &link->address;
}
