#include "cli/http_reply.h"

#include "base/err.h"

void http_reply_fini(struct http_reply *reply)
{
    buf_fini(&reply->head);
    buf_fini(&reply->body);
    *reply = (struct http_reply){0};
}

static bool has_no_body(int status)
{
    return status == 204 || status == 304;
}

static int take_chunks(struct http_reply *reply, const uint8_t *data, size_t len)
{
    uint8_t *to = buf_reserve(&reply->body, len);
    if (!to) {
        return buf_err(&reply->body);
    }
    memcpy(to, data, len);
    size_t body_len, consumed;
    int result = http_chunked_decode(&reply->chunked, to, len, &body_len, &consumed);
    reply->body.len += body_len;
    reply->is_complete = result == 1;
    return result < 0 ? result : consumed < len ? ERR_PROTOCOL : 0;
}

static int take_body(struct http_reply *reply, const uint8_t *data, size_t len)
{
    const struct http_answer *answer = &reply->answer;
    if (len > 0 && answer->chunked) {
        return take_chunks(reply, data, len);
    }
    if (len > HTTP_REPLY_BODY_MAX - reply->body.len) {
        return ERR_TOO_LARGE;
    }
    int err = buf_append(&reply->body, data, len);
    if (err || answer->status == 101 || answer->chunked || answer->content_length < 0) {
        return err;
    }
    uint64_t wanted = (uint64_t)answer->content_length;
    reply->is_complete = reply->body.len == wanted;
    return reply->body.len > wanted ? ERR_PROTOCOL : 0;
}

/* The head stands; what came behind it is the body's. */
static int start_body(struct http_reply *reply, size_t head_len)
{
    struct http_answer *answer = &reply->answer;
    size_t rest = reply->head.len - head_len;
    reply->head.len = head_len;
    reply->has_head = true;
    if (has_no_body(answer->status)) {
        reply->is_complete = true;
        return rest > 0 ? ERR_PROTOCOL : 0;
    }
    if (answer->content_length > HTTP_REPLY_BODY_MAX) {
        return ERR_TOO_LARGE;
    }
    http_chunked_init(&reply->chunked, HTTP_REPLY_BODY_MAX);
    reply->is_complete = answer->status == 101;
    return take_body(reply, reply->head.data + head_len, rest);
}

static int take_head(struct http_reply *reply)
{
    for (;;) {
        const struct http_limits limits = HTTP_LIMITS_DEFAULT;
        ssize_t used = http_answer_parse(&reply->answer, &limits, reply->head.data,
                                         reply->head.len);
        if (used <= 0) {
            return (int)used;
        }
        if (reply->answer.status >= 200 || reply->answer.status == 101) {
            return start_body(reply, (size_t)used);
        }
        buf_consume(&reply->head, (size_t)used);
    }
}

int http_reply_feed(struct http_reply *reply, const void *data, size_t len)
{
    if (reply->has_head) {
        return reply->is_complete && len > 0 && reply->answer.status != 101
                   ? ERR_PROTOCOL
                   : take_body(reply, data, len);
    }
    int err = buf_append(&reply->head, data, len);
    return err ? err : take_head(reply);
}

int http_reply_end(struct http_reply *reply)
{
    const struct http_answer *answer = &reply->answer;
    if (reply->has_head && !answer->chunked && answer->content_length < 0) {
        reply->is_complete = true;
    }
    return reply->is_complete ? 0 : ERR_CLOSED;
}
