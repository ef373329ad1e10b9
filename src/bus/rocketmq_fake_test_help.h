/* A name server and brokers on a loop of the test, all on one port: they keep their messages in
 * memory, behave like real ones, and misbehave as they are told. */
#ifndef TIDEGATE_BUS_ROCKETMQ_FAKE_TEST_HELP_H
#define TIDEGATE_BUS_ROCKETMQ_FAKE_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mail.h"
#include "base/mem.h"
#include "net/loop.h"
#include "proto/rocketmq_bytes.h"
#include "proto/rocketmq_frame.h"

enum {
    FAKE_QUEUES = 4,
    FAKE_MESSAGES = 512,
    FAKE_CONNS = 16,
    FAKE_HELD = 16,
    FAKE_CODES = 400,
    PATIENCE_MS = 20000, /* of a test, for what must come */
};

#define FAKE_TOPIC "tidegate"

struct fake_message {
    char body[64];
    size_t len;
    uint64_t stored_ms;
    uint64_t log_offset;
    uint32_t flag;
    /* what is wrong with it */
    bool bad_crc, other_topic, compressed, malformed;
};

struct fake_queue {
    struct fake_message messages[FAKE_MESSAGES];
    uint64_t min, max; /* message i is messages[i % FAKE_MESSAGES] */
};

struct fake_conn {
    struct fake *fake;
    struct loop_watch watch;
    struct buf in;
};

struct fake_held {
    struct fake_conn *conn; /* NULL: free */
    int32_t opaque;
    uint32_t queue;
    uint64_t offset;
};

struct fake {
    struct loop *loop;
    struct loop_watch listener;
    uint16_t port;
    struct fake_conn conns[FAKE_CONNS];
    struct fake_queue queues[FAKE_QUEUES];
    struct fake_held held[FAKE_HELD];
    uint32_t topic_queues; /* 0: nobody has made it yet */
    uint32_t perm;
    bool is_mute;                 /* takes everything, answers nothing */
    bool is_binary;               /* how it writes headers */
    bool is_without_route;        /* no broker is registered */
    bool cuts_bodies;             /* the last byte of a pull's answer is missing */
    bool finds_one_before;        /* a look-up by time, as 4.9 does it */
    int lose_answers;             /* of so many sends, that are stored */
    int refuse[FAKE_CODES];       /* with this code, requests of that one */
    int refuse_times[FAKE_CODES]; /* so often; -1: always */
    int asked[FAKE_CODES];
    uint64_t next_log_offset;
    const char *broker;     /* its name */
    const char *access_key; /* that requests to a broker must carry, and a signature */
    struct fake *other;     /* a second broker, which this name server knows too */
    bool is_moved;          /* this broker is where the other one is */
};

/* --- messages --- */

static inline void fake_uint(struct buf *out, uint64_t value, int size)
{
    while (size-- > 0) {
        buf_append_char(out, size < 8 ? (char)(value >> (8 * size)) : 0);
    }
}

static inline void fake_write_message(struct buf *out, const struct fake_message *message,
                                      uint32_t queue, uint64_t offset)
{
    const char *topic = message->other_topic ? "elsewhere" : FAKE_TOPIC;
    size_t start = out->len;
    uint32_t crc = crc32(0, (const Bytef *)message->body, (uInt)message->len) & 0x7fffffff;
    fake_uint(out, 0, 4);
    fake_uint(out, 0xdaa320a7 ^ message->malformed, 4);
    fake_uint(out, crc ^ message->bad_crc, 4);
    fake_uint(out, queue, 4);
    fake_uint(out, message->flag, 4);
    fake_uint(out, offset, 8);
    fake_uint(out, message->log_offset, 8);
    fake_uint(out, message->compressed, 4);
    fake_uint(out, message->stored_ms, 8);
    fake_uint(out, 0, 8);
    fake_uint(out, message->stored_ms, 8);
    fake_uint(out, 0, 8 + 12);
    fake_uint(out, message->len, 4);
    buf_append(out, message->body, message->len);
    fake_uint(out, strlen(topic), 1);
    buf_append(out, topic, strlen(topic));
    fake_uint(out, 0, 2);
    rocketmq_bytes_store_u32(out->data + start, (uint32_t)(out->len - start));
}

static inline struct fake_message *fake_append(struct fake *fake, uint32_t queue, struct str body)
{
    struct fake_queue *at = &fake->queues[queue];
    struct fake_message *message = &at->messages[at->max % FAKE_MESSAGES];
    *message = (struct fake_message){
        .len = body.len, .stored_ms = clock_wall_ms(), .log_offset = fake->next_log_offset++};
    assert_true(body.len <= sizeof(message->body));
    memcpy(message->body, body.ptr, body.len);
    at->max++;
    return message;
}

/* --- answers --- */

static inline void fake_send(struct fake_conn *conn, struct buf *out)
{
    assert_int_equal(buf_err(out), 0);
    assert_int_equal(send(conn->watch.fd, out->data, out->len, MSG_NOSIGNAL), out->len);
    buf_fini(out);
}

static inline void fake_binary_text(struct buf *out, struct str text, int size)
{
    fake_uint(out, text.len, size);
    buf_append_str(out, text);
}

static inline void fake_answer_binary(struct fake_conn *conn, int32_t opaque, int code,
                                      const struct rocketmq_field *fields, size_t count,
                                      struct str body)
{
    struct buf ext = {0}, header = {0}, out = {0};
    for (size_t i = 0; i < count; i++) {
        fake_binary_text(&ext, fields[i].name, 2);
        fake_binary_text(&ext, fields[i].value, 4);
    }
    fake_uint(&header, (uint64_t)code, 2);
    fake_uint(&header, 0, 3);
    fake_uint(&header, (uint32_t)opaque, 4);
    fake_uint(&header, ROCKETMQ_FLAG_RESPONSE, 4);
    fake_binary_text(&header, STR("remark"), 4);
    fake_binary_text(&header, buf_str(&ext), 4);
    fake_uint(&out, 4 + header.len + body.len, 4);
    fake_uint(&out, 1u << 24 | header.len, 4);
    buf_append_str(&out, buf_str(&header));
    buf_append_str(&out, body);
    fake_send(conn, &out);
    buf_fini(&ext);
    buf_fini(&header);
}

static inline void fake_answer(struct fake_conn *conn, int32_t opaque, int code,
                               const struct rocketmq_field *fields, size_t count, struct str body)
{
    struct buf out = {0};
    if (conn->fake->is_binary) {
        fake_answer_binary(conn, opaque, code, fields, count, body);
        return;
    }
    rocketmq_frame_write(&out, code, opaque, ROCKETMQ_FLAG_RESPONSE, fields, count, body.len);
    buf_append_str(&out, body);
    fake_send(conn, &out);
}

static inline int64_t fake_number(const struct rocketmq_frame *frame, struct str name)
{
    int64_t value;
    assert_true(rocketmq_frame_i64(frame, name, &value));
    return value;
}

static inline void fake_answer_offset(struct fake_conn *conn, int32_t opaque, uint64_t offset)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)offset);
    const struct rocketmq_field field = {STR("offset"), str_of(text)};
    fake_answer(conn, opaque, 0, &field, 1, STR(""));
}

static inline void fake_answer_pull(struct fake_conn *conn, int32_t opaque, int code,
                                    const struct fake_queue *queue, uint64_t next, struct str body)
{
    char texts[3][24];
    const uint64_t values[] = {next, queue->min, queue->max};
    for (int i = 0; i < 3; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%llu", (unsigned long long)values[i]);
    }
    const struct rocketmq_field fields[] = {{STR("nextBeginOffset"), str_of(texts[0])},
                                            {STR("minOffset"), str_of(texts[1])},
                                            {STR("maxOffset"), str_of(texts[2])}};
    fake_answer(conn, opaque, code, fields, 3, body);
}

static inline void fake_answer_found(struct fake_conn *conn, int32_t opaque, uint32_t id,
                                     uint64_t offset, int64_t max_count)
{
    struct fake_queue *queue = &conn->fake->queues[id];
    struct buf body = {0};
    while (offset < queue->max && max_count-- > 0) {
        fake_write_message(&body, &queue->messages[offset % FAKE_MESSAGES], id, offset);
        offset++;
    }
    body.len -= conn->fake->cuts_bodies;
    fake_answer_pull(conn, opaque, 0, queue, offset, buf_str(&body));
    buf_fini(&body);
}

static inline void fake_hold(struct fake_conn *conn, int32_t opaque, uint32_t id, uint64_t offset)
{
    struct fake_held *held = conn->fake->held;
    while (held->conn) {
        held++;
        assert_true(held < conn->fake->held + FAKE_HELD);
    }
    *held = (struct fake_held){conn, opaque, id, offset};
}

/* Answers the polls that wait for what is there now. */
static inline void fake_wake(struct fake *fake)
{
    for (int i = 0; i < FAKE_HELD; i++) {
        struct fake_held held = fake->held[i];
        if (held.conn && fake->queues[held.queue].max > held.offset && !fake->is_mute) {
            fake->held[i].conn = NULL;
            fake_answer_found(held.conn, held.opaque, held.queue, held.offset, 32);
        }
    }
}

static inline void fake_pull(struct fake_conn *conn, const struct rocketmq_frame *frame)
{
    uint32_t id = (uint32_t)fake_number(frame, STR("queueId"));
    uint64_t offset = (uint64_t)fake_number(frame, STR("queueOffset"));
    struct fake_queue *queue = &conn->fake->queues[id];
    if (offset < queue->min) {
        fake_answer_pull(conn, frame->opaque, 21, queue, queue->min, STR(""));
    } else if (offset > queue->max) {
        fake_answer_pull(conn, frame->opaque, 21, queue, queue->max, STR(""));
    } else if (offset < queue->max) {
        fake_answer_found(conn, frame->opaque, id, offset, fake_number(frame, STR("maxMsgNums")));
    } else if (fake_number(frame, STR("sysFlag")) & 2) {
        fake_hold(conn, frame->opaque, id, offset);
    } else {
        fake_answer_pull(conn, frame->opaque, 19, queue, offset, STR(""));
    }
}

static inline void fake_store(struct fake_conn *conn, const struct rocketmq_frame *frame, int code)
{
    char id[12], offset[24];
    struct fake *fake = conn->fake;
    uint32_t queue = (uint32_t)fake_number(frame, STR("e"));
    struct fake_message *message = fake_append(fake, queue, frame->body);
    message->flag = (uint32_t)fake_number(frame, STR("h"));
    snprintf(id, sizeof(id), "%u", queue);
    snprintf(offset, sizeof(offset), "%llu", (unsigned long long)fake->queues[queue].max - 1);
    const struct rocketmq_field fields[] = {{STR("queueId"), str_of(id)},
                                            {STR("queueOffset"), str_of(offset)}};
    if (fake->lose_answers > 0) {
        fake->lose_answers--;
    } else {
        fake_answer(conn, frame->opaque, code, fields, 2, STR(""));
    }
    fake_wake(fake);
}

static inline void fake_write_route(struct buf *out, struct fake *fake)
{
    uint16_t port = fake->is_moved ? fake->other->port : fake->port;
    buf_printf(out, "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"127.0.0.1:%u\"},", port);
    buf_printf(out, "\"brokerName\":\"%s\"}", fake->broker);
    if (fake->other && fake->other->topic_queues > 0) {
        buf_printf(out, ",{\"brokerAddrs\":{\"0\":\"127.0.0.1:%u\"},", fake->other->port);
        buf_printf(out, "\"brokerName\":\"%s\"}", fake->other->broker);
    }
    buf_append_str(out, STR("],\"queueDatas\":["));
    for (struct fake *each = fake; each && each->topic_queues > 0; each = each->other) {
        buf_printf(out, "%s{\"brokerName\":\"%s\",\"perm\":%u,", each == fake ? "" : ",",
                   each->broker, each->perm);
        buf_printf(out, "\"readQueueNums\":%u,\"writeQueueNums\":%u}", each->topic_queues,
                   each->topic_queues);
    }
    buf_append_str(out, STR("]}"));
}

static inline void fake_route(struct fake_conn *conn, const struct rocketmq_frame *frame)
{
    struct fake *fake = conn->fake;
    struct buf body = {0};
    bool has_route = fake->topic_queues > 0 && !fake->is_without_route;
    if (has_route) {
        fake_write_route(&body, fake);
    }
    fake_answer(conn, frame->opaque, has_route ? 0 : ROCKETMQ_TOPIC_NOT_EXIST, NULL, 0,
                buf_str(&body));
    buf_fini(&body);
}

static inline void fake_cluster(struct fake_conn *conn, const struct rocketmq_frame *frame)
{
    char body[256];
    struct fake *fake = conn->fake;
    snprintf(body, sizeof(body),
             "{\"brokerAddrTable\":{\"%s\":{\"brokerAddrs\":{0:\"127.0.0.1:%u\"},\"brokerName\":"
             "\"%s\"}}}",
             fake->broker, fake->port, fake->broker);
    fake_answer(conn, frame->opaque, 0, NULL, 0,
                fake->is_without_route ? STR("{\"brokerAddrTable\":{}}") : str_of(body));
}

static inline void fake_find(struct fake_conn *conn, const struct rocketmq_frame *frame)
{
    struct fake_queue *queue = &conn->fake->queues[fake_number(frame, STR("queueId"))];
    int64_t since_ms = fake_number(frame, STR("timestamp"));
    uint64_t at = queue->min;
    while (at < queue->max && (int64_t)queue->messages[at % FAKE_MESSAGES].stored_ms < since_ms) {
        at++;
    }
    at -= conn->fake->finds_one_before && at > queue->min;
    fake_answer_offset(conn, frame->opaque, at);
}

static inline void fake_check_key(const struct fake *fake, const struct rocketmq_frame *frame)
{
    char scratch[64];
    struct str text;
    if (fake->access_key && frame->code != ROCKETMQ_GET_ROUTE &&
        frame->code != ROCKETMQ_GET_CLUSTER) {
        assert_true(rocketmq_frame_text(frame, STR("AccessKey"), scratch, 64, &text));
        assert_true(str_equal(text, str_of(fake->access_key)));
        assert_true(rocketmq_frame_text(frame, STR("Signature"), scratch, 64, &text));
        assert_int_equal(text.len, 28);
    }
}

static inline bool fake_refuses(struct fake_conn *conn, const struct rocketmq_frame *frame)
{
    int *times = &conn->fake->refuse_times[frame->code];
    if (*times == 0) {
        return false;
    }
    *times -= *times > 0;
    int code = conn->fake->refuse[frame->code];
    if (code >= 10 && code <= 12) {
        fake_store(conn, frame, code);
    } else {
        fake_answer(conn, frame->opaque, code, NULL, 0, STR(""));
    }
    return true;
}

static inline void fake_request(struct fake_conn *conn, const struct rocketmq_frame *frame)
{
    struct fake *fake = conn->fake;
    struct fake_queue *queue = fake->queues;
    assert_in_range(frame->code, 0, FAKE_CODES - 1);
    fake->asked[frame->code]++;
    fake_check_key(fake, frame);
    if (fake->is_mute || fake_refuses(conn, frame)) {
        return;
    }
    switch (frame->code) {
    case ROCKETMQ_GET_ROUTE: fake_route(conn, frame); break;
    case ROCKETMQ_GET_CLUSTER: fake_cluster(conn, frame); break;
    case ROCKETMQ_CREATE_GROUP:
    case ROCKETMQ_HEART_BEAT: fake_answer(conn, frame->opaque, 0, NULL, 0, STR("")); break;
    case ROCKETMQ_CREATE_TOPIC:
        fake->topic_queues = (uint32_t)fake_number(frame, STR("writeQueueNums"));
        fake_answer(conn, frame->opaque, 0, NULL, 0, STR(""));
        break;
    case ROCKETMQ_GET_MIN_OFFSET:
        queue += fake_number(frame, STR("queueId"));
        fake_answer_offset(conn, frame->opaque, queue->min);
        break;
    case ROCKETMQ_GET_MAX_OFFSET:
        queue += fake_number(frame, STR("queueId"));
        fake_answer_offset(conn, frame->opaque, queue->max);
        break;
    case ROCKETMQ_SEARCH_OFFSET: fake_find(conn, frame); break;
    case ROCKETMQ_PULL_MESSAGE: fake_pull(conn, frame); break;
    case ROCKETMQ_SEND_MESSAGE_V2: fake_store(conn, frame, 0); break;
    default: fail_msg("request %d", frame->code);
    }
}

/* --- connections --- */

static inline void fake_close(struct fake_conn *conn)
{
    int fd = conn->watch.fd;
    if (fd >= 0) {
        loop_unwatch(conn->fake->loop, &conn->watch);
        close(fd);
    }
    buf_fini(&conn->in);
    for (int i = 0; i < FAKE_HELD; i++) {
        if (conn->fake->held[i].conn == conn) {
            conn->fake->held[i].conn = NULL;
        }
    }
}

static inline void fake_close_all(struct fake *fake)
{
    for (int i = 0; i < FAKE_CONNS; i++) {
        fake_close(&fake->conns[i]);
    }
}

static inline void fake_take_frames(struct fake_conn *conn)
{
    struct rocketmq_frame frame;
    ssize_t len;
    while ((len = rocketmq_frame_read(&frame, buf_str(&conn->in))) > 0) {
        if (!rocketmq_frame_is_answer(&frame)) {
            fake_request(conn, &frame);
        } else {
            conn->fake->asked[0]++; /* an answer to what we asked */
        }
        buf_consume(&conn->in, (size_t)len);
    }
    assert_int_equal(len, 0);
}

static inline void fake_on_ready(struct loop_watch *watch, unsigned events)
{
    struct fake_conn *conn = MAIL_OWNER(watch, struct fake_conn, watch);
    uint8_t *to = buf_reserve(&conn->in, 65536);
    ssize_t got = recv(watch->fd, to, 65536, MSG_DONTWAIT);
    if (got <= 0) {
        fake_close(conn);
        return;
    }
    conn->in.len += (size_t)got;
    fake_take_frames(conn);
}

static inline void fake_on_accept(struct loop_watch *watch, unsigned events)
{
    struct fake *fake = MAIL_OWNER(watch, struct fake, listener);
    struct fake_conn *conn = fake->conns;
    while (conn->watch.fd >= 0) {
        conn++;
        assert_true(conn < fake->conns + FAKE_CONNS);
    }
    int fd = accept(watch->fd, NULL, NULL);
    assert_int_equal(loop_watch(fake->loop, &conn->watch, fd, LOOP_READABLE), 0);
}

static inline void fake_init(struct fake *fake, struct loop *loop, const char *broker)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    *fake = (struct fake){.loop = loop,
                          .perm = 6,
                          .broker = broker,
                          .next_log_offset = 1000,
                          .listener = {.on_ready = fake_on_accept, .fd = -1}};
    for (int i = 0; i < FAKE_CONNS; i++) {
        fake->conns[i] = (struct fake_conn){fake, {.on_ready = fake_on_ready, .fd = -1}, {0}};
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    fake->port = ntohs(address.sin_port);
    assert_int_equal(loop_watch(loop, &fake->listener, fd, LOOP_READABLE), 0);
}

static inline void fake_fini(struct fake *fake)
{
    int fd = fake->listener.fd;
    fake_close_all(fake);
    loop_unwatch(fake->loop, &fake->listener);
    close(fd);
}

#endif
