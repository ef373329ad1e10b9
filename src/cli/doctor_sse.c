/* The event stream: whether it is reached, and whether something holds its events back. */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/doctor_front.h"
#include "proto/base64.h"

#define BUFFERING_FIX                                                                         \
    "nginx: proxy_buffering off; and no gzip for text/event-stream; HAProxy: no option http-" \
    "buffer-request, no compression; CDNs: turn caching and transformation off for /v1/sse"

struct stream {
    struct conn *conn;
    struct buf in;
    uint64_t asked_ms;
    uint64_t head_ms;  /* until the head was here; 0: it is not */
    uint64_t event_ms; /* … and an event */
    int status;
    bool is_stream;
    bool has_welcome;
};

static int ask(struct doctor_front *front, struct stream *stream)
{
    char hello[64];
    const char *text = "{\"t\":\"hello\",\"v\":1}";
    struct buf request = {0};
    uint64_t until_ms = clock_monotonic_ms() + front->timeout_ms;
    size_t len = base64_encode(hello, (const uint8_t *)text, strlen(text), BASE64_URL);
    buf_append_str(&request, STR("GET "));
    doctor_front_target(front, "/v1/sse", &request);
    buf_printf(&request, "%chello=%.*s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n",
               front->app ? '&' : '?', (int)len, hello, front->url.authority);
    if (*front->token.text) {
        buf_printf(&request, "Authorization: Bearer %s\r\n", front->token.text);
    }
    buf_append_str(&request, STR("\r\n"));
    int err = buf_err(&request);
    if (!err) {
        err = conn_open(&stream->conn, &front->url, front->ca_file, until_ms);
    }
    if (!err) {
        err = conn_write(stream->conn, request.data, request.len, until_ms);
    }
    stream->asked_ms = clock_monotonic_ms();
    if (request.data) {
        explicit_bzero(request.data, request.cap);
    }
    buf_fini(&request);
    return err;
}

static bool has(const struct stream *stream, const char *text)
{
    return stream->in.data && memmem(stream->in.data, stream->in.len, text, strlen(text));
}

/* Looked at as bytes: chunks may cut anything but these short marks, which come in one piece. */
static void look(struct stream *stream)
{
    uint64_t since_ms = clock_monotonic_ms() - stream->asked_ms;
    if (!stream->head_ms && has(stream, "\r\n\r\n")) {
        char line[32];
        snprintf(line, sizeof(line), "%.*s", 31, buf_cstr(&stream->in));
        stream->head_ms = since_ms + 1;
        stream->status = sscanf(line, "HTTP/1.%*d %d", &stream->status) == 1 ? stream->status : 0;
        stream->is_stream = has(stream, "text/event-stream");
    }
    if (!stream->event_ms && has(stream, "data:")) {
        stream->event_ms = since_ms + 1;
        stream->has_welcome = has(stream, "\"welcome\"");
    }
}

/* Until the first event, an answer that is no stream, or most_ms. */
static int take(struct stream *stream, uint64_t until_ms)
{
    while (!stream->event_ms && !(stream->head_ms && stream->status != 200)) {
        uint8_t *to = buf_reserve(&stream->in, 4096);
        ssize_t got = to ? conn_read(stream->conn, to, 4096, until_ms) : ERR_NO_MEMORY;
        if (got <= 0) {
            return got < 0 ? (int)got : ERR_CLOSED;
        }
        stream->in.len += (size_t)got;
        if (stream->in.len > 256 * 1024) {
            return ERR_TOO_LARGE;
        }
        look(stream);
    }
    return 0;
}

static void say_refused(struct doctor_front *front, const struct stream *stream)
{
    bool is_ours = has(stream, "\"code\":");
    bool wants_token = stream->status == 401 || stream->status == 403;
    if (is_ours && wants_token) {
        doctor_say(
            front->report, "front.sse", DOCTOR_WARN,
            "give a good token: --token-file FILE or TIDEGATE_TOKEN",
            "the gateway is there and answers %d; whether events are held back can't be seen",
            stream->status);
    } else {
        doctor_say(front->report, "front.sse", DOCTOR_FAIL,
                   "let the proxy pass the path /v1/ on to the gateway's client listener",
                   "/v1/sse is answered %d by %s", stream->status,
                   is_ours ? "tidegate" : "something else than tidegate");
    }
}

static void say(struct doctor_front *front, const struct stream *stream, int err)
{
    unsigned long long most_ms = (unsigned long long)front->most_ms;
    if (stream->event_ms) {
        doctor_say(front->report, "front.sse", DOCTOR_OK, NULL,
                   "the first event came %llu ms after the request",
                   (unsigned long long)stream->event_ms - 1);
    } else if (stream->head_ms && stream->status != 200) {
        say_refused(front, stream);
    } else if (err == ERR_TIMEOUT && stream->head_ms) {
        doctor_say(front->report, "front.sse", DOCTOR_FAIL, BUFFERING_FIX,
                   "the head comes, but no event within %llu ms: something holds the stream back",
                   most_ms);
    } else if (err == ERR_TIMEOUT) {
        doctor_say(front->report, "front.sse", DOCTOR_FAIL, BUFFERING_FIX,
                   "not even the head comes within %llu ms: something holds the whole answer back",
                   most_ms);
    } else {
        doctor_say(front->report, "front.sse", DOCTOR_FAIL, "does the proxy's log say why?",
                   "the stream ended before its first event: %s", err_str(err));
    }
}

void doctor_check_sse(struct doctor_front *front)
{
    struct stream stream = {0};
    int err = ask(front, &stream);
    if (!err) {
        err = take(&stream, clock_monotonic_ms() + front->most_ms);
    }
    say(front, &stream, err);
    conn_close(stream.conn);
    buf_fini(&stream.in);
}
