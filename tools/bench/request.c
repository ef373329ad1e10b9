#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "bench_util.h"

static uint64_t draw(struct request_maker *maker)
{
    uint64_t x = maker->random; /* xorshift: Marsaglia 2003 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return maker->random = x;
}

/* Looks like JSON to a compressor, and is valid inside a JSON string wherever it is cut. */
static void fill_with_text(struct request_maker *maker, size_t size)
{
    static const char *const words[] = {"'user':'", "'status':'", "'room':'",   "'text':'",
                                        "alice",    "offline",    "message",    "update",
                                        "hello",    "price",      "2026-11-23", "article",
                                        "notify",   "comment",    "priority",   "true"};
    struct buf text = {0};
    while (text.len < size) {
        buf_append_str(&text, str_of(words[draw(maker) % 4]));
        buf_append_str(&text, str_of(words[4 + draw(maker) % 12]));
        buf_append_char(&text, ' ');
        buf_append_u64(&text, draw(maker) % 1000);
        buf_append_str(&text, STR("',"));
    }
    memcpy(maker->filling, text.data, size);
    buf_fini(&text);
}

void request_maker_init(struct request_maker *maker, const struct phase *phase, unsigned phase_no,
                        uint32_t users, const char *group, const char *headers)
{
    *maker = (struct request_maker){.phase = phase,
                                    .phase_no = phase_no,
                                    .headers = headers,
                                    .group = group,
                                    .random = 88172645463325252u};
    maker->key_count = phase->to == PHASE_TO_USER ? users / phase->fan : 1;
    if (maker->key_count < phase->conns) {
        bench_die("phase %s: %u connections for %u target keys can't keep their order", phase->name,
                  phase->conns, maker->key_count);
    }
    maker->next_seq = bench_zalloc(maker->key_count, sizeof(*maker->next_seq));
    maker->filling = bench_zalloc(phase->size, 1);
    memset(maker->filling, 'x', phase->size);
    if (phase->text) {
        fill_with_text(maker, phase->size);
    }
    buf_init(&maker->body, 0);
}

void request_maker_fini(struct request_maker *maker)
{
    free(maker->next_seq);
    free(maker->filling);
    buf_fini(&maker->body);
}

static uint32_t pick_key(struct request_maker *maker, unsigned conn)
{
    unsigned conns = maker->phase->conns;
    uint32_t share = (maker->key_count - conn + conns - 1) / conns;
    return conn + conns * (uint32_t)(draw(maker) % share);
}

/* {"clk":1,"p":2,"n":3,"u":4,"pad":"xxx"}, phase->size bytes in all. */
static void append_payload(struct request_maker *maker, struct buf *out, uint32_t key,
                           uint64_t sent_ns)
{
    const struct phase *phase = maker->phase;
    size_t start = out->len;
    buf_append_str(out, STR("{\"clk\":"));
    buf_append_u64(out, sent_ns);
    buf_append_str(out, STR(",\"p\":"));
    buf_append_u64(out, maker->phase_no);
    buf_append_str(out, STR(",\"n\":"));
    buf_append_u64(out, maker->next_seq[key]++);
    if (phase->to == PHASE_TO_USER && phase->fan == 1) {
        buf_append_str(out, STR(",\"u\":"));
        buf_append_u64(out, key);
    }
    buf_append_str(out, STR(",\"pad\":\""));
    size_t used = out->len - start + 2;
    if (used < phase->size) {
        buf_append(out, maker->filling, phase->size - used);
    }
    buf_append_str(out, STR("\"}"));
}

static void append_users(struct request_maker *maker, struct buf *out, uint32_t key)
{
    const struct phase *phase = maker->phase;
    buf_append_str(out, STR("\"users\":["));
    for (uint32_t i = 0; i < phase->fan; i++) {
        if (i) {
            buf_append_char(out, ',');
        }
        buf_append(out, phase->offline ? "\"x" : "\"u", 2);
        buf_append_u64(out, key * phase->fan + i);
        buf_append_char(out, '"');
    }
    buf_append_char(out, ']');
}

static void append_message(struct request_maker *maker, struct buf *out, uint32_t key,
                           uint64_t sent_ns)
{
    buf_append_str(out, STR("{\"to\":{"));
    if (maker->phase->to == PHASE_TO_USER) {
        append_users(maker, out, key);
    } else if (maker->phase->to == PHASE_TO_ALL) {
        buf_append_str(out, STR("\"all\":true"));
    } else {
        buf_append_str(out, STR("\"groups\":[\""));
        buf_append_str(out, str_of(maker->group));
        buf_append_str(out, STR("\"]"));
    }
    buf_append_str(out, STR("},\"data\":"));
    append_payload(maker, out, key, sent_ns);
    buf_append_char(out, '}');
}

static void append_batch(struct request_maker *maker, struct buf *out, unsigned conn,
                         uint64_t sent_ns)
{
    buf_append_str(out, STR("{\"messages\":["));
    for (unsigned i = 0; i < maker->phase->batch; i++) {
        if (i) {
            buf_append_char(out, ',');
        }
        append_message(maker, out, pick_key(maker, conn), sent_ns);
    }
    buf_append_str(out, STR("]}"));
}

static void append_head(struct request_maker *maker, struct buf *out, uint32_t key)
{
    buf_append_str(out, STR("POST /v1/"));
    if (maker->phase->batch) {
        buf_append_str(out, STR("messages:batch"));
    } else if (maker->phase->raw) {
        buf_append_str(out, STR("users/u"));
        buf_append_u64(out, key);
        buf_append_str(out, STR("/messages"));
    } else {
        buf_append_str(out, STR("messages"));
    }
    buf_append_str(out, STR(" HTTP/1.1\r\nContent-Type: application/json\r\n"));
    buf_append_str(out, str_of(maker->headers));
    buf_append_str(out, STR("Content-Length: "));
    buf_append_u64(out, maker->body.len);
    buf_append_str(out, STR("\r\n\r\n"));
}

void request_append(struct request_maker *maker, struct buf *out, unsigned conn, uint64_t sent_ns)
{
    struct buf *body = &maker->body;
    uint32_t key = 0;
    buf_clear(body);
    if (maker->phase->batch) {
        append_batch(maker, body, conn, sent_ns);
    } else {
        key = pick_key(maker, conn);
        if (maker->phase->raw) {
            append_payload(maker, body, key, sent_ns);
        } else {
            append_message(maker, body, key, sent_ns);
        }
    }
    append_head(maker, out, key);
    buf_append(out, body->data, body->len);
    if (buf_err(out) || buf_err(body)) {
        bench_die("out of memory");
    }
}
