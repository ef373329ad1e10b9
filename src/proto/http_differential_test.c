/* What we accept, http-parser (Debian's libhttp-parser, once Node's) reads the same way: method,
 * target, headers, body and where the message ends. Over the corpus of the fuzz target and seeded
 * mutations of it. http-parser accepts more than we do, which is no difference of interest. */
#include "proto/http_request.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
/* Both sides have an enum of this tag. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method

#include "base/buf.h"
#include "proto/http_chunked.h"

#define CORPUS "tests/fuzz/proto.http_request"
#define MUTATIONS 4000 /* of each file */
#define BODY_MAX (1 << 20)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One reading of a message. */
struct reading {
    int error;
    bool has_head;
    bool is_complete;
    bool keep_alive;
    size_t end; /* when complete: the bytes of the whole message */
    char method[40];
    struct buf target;
    struct buf headers; /* "name:value\n" each */
    struct buf body;    /* as far as it came */
    bool in_value;
    bool is_misread;
};

static void reading_fini(struct reading *reading)
{
    buf_fini(&reading->target);
    buf_fini(&reading->headers);
    buf_fini(&reading->body);
}

static void read_body_by_length(struct reading *reading, size_t head, uint64_t length,
                                const uint8_t *data, size_t len)
{
    size_t left = len - head;
    size_t take = left < length ? left : (size_t)length;
    buf_append(&reading->body, data + head, take);
    reading->is_complete = take == length;
    reading->end = head + take;
}

static void read_chunked_body(struct reading *reading, size_t head, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len - head + 1);
    memcpy(copy, data + head, len - head);
    struct http_chunked decoder;
    size_t body_len;
    size_t consumed;
    http_chunked_init(&decoder, BODY_MAX);
    int result = http_chunked_decode(&decoder, copy, len - head, &body_len, &consumed);
    buf_append(&reading->body, copy, body_len);
    free(copy);
    reading->error = result < 0 ? result : 0;
    reading->is_complete = result == 1;
    reading->end = head + consumed;
}

/* Where http-parser 2.9 and the RFC differ: it takes "Transfer-Encodings: x" for half a
 * Transfer-Encoding, a tab behind a value (RFC 9110 5.6.3) for part of it, and stumbles over an
 * empty first item of a list (5.6.1.2). */
static bool is_misread_by_them(const struct http_header *header)
{
    const struct str known = STR("transfer-encoding");
    return header->value.ptr[header->value.len] == '\t' ||
           (header->field == HTTP_FIELD_CONNECTION && str_starts_with(header->value, STR(","))) ||
           (header->name.len > known.len &&
            strncasecmp(header->name.ptr, known.ptr, known.len) == 0);
}

static void read_by_us(struct reading *reading, const uint8_t *data, size_t len)
{
    static struct http_request request;
    ssize_t head = http_request_parse(&request, &HTTP_LIMITS_DEFAULT, data, len, NULL);
    if (head <= 0) {
        reading->error = (int)head;
        return;
    }
    reading->has_head = true;
    reading->keep_alive = request.keep_alive;
    snprintf(reading->method, sizeof(reading->method), "%.*s", STR_ARG(request.method_text));
    if (request.method == HTTP_METHOD_OTHER) {
        reading->method[0] = '\0';
    }
    buf_append_str(&reading->target, request.target);
    for (uint32_t i = 0; i < request.fields.count; i++) {
        reading->is_misread |= is_misread_by_them(&request.fields.headers[i]);
        buf_append_str(&reading->headers, request.fields.headers[i].name);
        buf_append_char(&reading->headers, ':');
        buf_append_str(&reading->headers, request.fields.headers[i].value);
        buf_append_char(&reading->headers, '\n');
    }
    if (request.chunked) {
        read_chunked_body(reading, (size_t)head, data, len);
    } else {
        uint64_t length = request.content_length > 0 ? (uint64_t)request.content_length : 0;
        read_body_by_length(reading, (size_t)head, length, data, len);
    }
}

static void end_header(struct reading *reading)
{
    if (reading->in_value) {
        reading->headers.len = str_trim(buf_str(&reading->headers)).len;
        buf_append_char(&reading->headers, '\n');
        reading->in_value = false;
    }
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    buf_append(&reading->target, at, len);
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    if (!reading->has_head) {
        end_header(reading);
        buf_append(&reading->headers, at, len);
    }
    return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    if (!reading->has_head) {
        if (!reading->in_value) {
            buf_append_char(&reading->headers, ':');
        }
        reading->in_value = true;
        buf_append(&reading->headers, at, len);
    }
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct reading *reading = parser->data;
    end_header(reading);
    reading->has_head = true;
    reading->keep_alive = http_should_keep_alive(parser);
    snprintf(reading->method, sizeof(reading->method), "%s", http_method_str(parser->method));
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    buf_append(&reading->body, at, len);
    return 0;
}

static int on_message_complete(http_parser *parser)
{
    struct reading *reading = parser->data;
    reading->is_complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

static void read_by_http_parser(struct reading *reading, const uint8_t *data, size_t len)
{
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_header_field;
    settings.on_header_value = on_header_value;
    settings.on_headers_complete = on_headers_complete;
    settings.on_body = on_body;
    settings.on_message_complete = on_message_complete;
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = reading;
    size_t parsed = http_parser_execute(&parser, &settings, (const char *)data, len);
    enum http_errno error = HTTP_PARSER_ERRNO(&parser);
    reading->error = error == HPE_OK || error == HPE_PAUSED ? 0 : (int)error;
    reading->end = parsed;
}

static bool readings_agree(const struct reading *ours, const struct reading *theirs)
{
    return !theirs->error && theirs->has_head && strcmp(ours->method, theirs->method) == 0 &&
           str_equal(buf_str(&ours->target), buf_str(&theirs->target)) &&
           str_equal(buf_str(&ours->headers), buf_str(&theirs->headers)) &&
           str_equal(buf_str(&ours->body), buf_str(&theirs->body)) &&
           ours->is_complete == theirs->is_complete &&
           (!ours->is_complete || ours->end == theirs->end) &&
           (!ours->keep_alive || theirs->keep_alive);
}

static void print_escaped(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] >= 0x20 && data[i] < 0x7f && data[i] != '\\') {
            print_error("%c", data[i]);
        } else {
            print_error("\\x%02x", data[i]);
        }
    }
    print_error("\n");
}

/* Returns whether we accepted it, so that it was compared. */
static bool compare(const uint8_t *data, size_t len)
{
    struct reading ours = {0};
    struct reading theirs = {0};
    read_by_us(&ours, data, len);
    /* A method that we know by its text only is none of http-parser's, or one of its many. */
    bool is_compared = ours.has_head && !ours.error && ours.method[0] && !ours.is_misread;
    if (is_compared) {
        read_by_http_parser(&theirs, data, len);
        if (!readings_agree(&ours, &theirs)) {
            print_escaped(data, len);
            fail_msg("complete %d/%d, end %zu/%zu, body %zu/%zu, keep-alive %d/%d, %s",
                     ours.is_complete, theirs.is_complete, ours.end, theirs.end, ours.body.len,
                     theirs.body.len, ours.keep_alive, theirs.keep_alive,
                     http_errno_name(theirs.error > 0 ? (enum http_errno)theirs.error : HPE_OK));
        }
    }
    reading_fini(&ours);
    reading_fini(&theirs);
    return is_compared;
}

static uint64_t seed = 0x9e3779b97f4a7c15u;

static size_t draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return below ? (size_t)(seed % below) : 0;
}

static void insert(struct buf *buf, size_t at, struct str text)
{
    struct buf copy = {0};
    buf_append_str(&copy, text); /* it may lie in buf itself */
    uint8_t *end = buf_reserve(buf, text.len);
    assert_non_null(end);
    memmove(buf->data + at + text.len, buf->data + at, buf->len - at);
    if (text.len > 0) {
        memcpy(buf->data + at, copy.data, text.len);
    }
    buf->len += text.len;
    buf_fini(&copy);
}

static void mutate(struct buf *buf)
{
    static const char *const pieces[] = {
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        ",",
        ";",
        "0",
        "a",
        "\x80",
        "\x7f",
        "\x01",
        "/",
        "?",
        "%",
        "\r\n\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "chunked",
        ", chunked",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Host: b\r\n",
        "HTTP/1.0",
        "http://b:1",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "X: y\r\n",
        "X:\r\n",
        " HTTP/1.1\r\n",
        "POST ",
        "OPTIONS * ",
        "=",
        "[::1]",
        "\"",
        "#",
        "\\",
        "close,",
    };
    size_t at = draw(buf->len + 1);
    size_t run = draw(buf->len - at < 20 ? buf->len - at + 1 : 20);
    switch (draw(4)) {
    case 0:
        if (at < buf->len) {
            buf->data[at] = (uint8_t)draw(256);
        }
        break;
    case 1:
        memmove(buf->data + at, buf->data + at + run, buf->len - at - run);
        buf->len -= run;
        break;
    case 2: insert(buf, draw(buf->len + 1), str_make(buf->data + at, run)); break;
    default: insert(buf, at, str_of(pieces[draw(COUNT(pieces))]));
    }
}

static size_t compare_mutations(struct str text)
{
    size_t compared = 0;
    for (int i = 0; i < MUTATIONS; i++) {
        struct buf buf = {0};
        buf_append_str(&buf, text);
        for (size_t steps = draw(3) + 1; steps > 0 && buf.len > 0; steps--) {
            mutate(&buf);
        }
        /* Memory of exactly that length. */
        uint8_t *copy = malloc(buf.len + 1);
        memcpy(copy, buf.data, buf.len);
        compared += compare(copy, buf.len);
        free(copy);
        buf_fini(&buf);
    }
    return compared;
}

static void read_file(struct buf *buf, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), CORPUS "/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    buf_clear(buf);
    uint8_t *to = buf_reserve(buf, 65536);
    assert_non_null(to);
    buf->len = fread(to, 1, 65536, file);
    fclose(file);
}

static void http_parser_reads_what_we_accept_as_we_do(void **state)
{
    DIR *folder = opendir(CORPUS);
    assert_non_null(folder);
    struct buf text = {0};
    size_t accepted = 0;
    size_t compared = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] != '.') {
            read_file(&text, entry->d_name);
            accepted += compare(text.data, text.len);
            compared += compare_mutations(buf_str(&text));
        }
    }
    closedir(folder);
    buf_fini(&text);
    assert_true(accepted > 25);
    assert_true(compared > 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_parser_reads_what_we_accept_as_we_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
