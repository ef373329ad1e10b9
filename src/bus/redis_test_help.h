/* For the tests of the Redis engine: its options as the configuration would give them, and a server
 * that the test plays by hand, on the same thread. */
#ifndef TIDEGATE_BUS_REDIS_TEST_HELP_H
#define TIDEGATE_BUS_REDIS_TEST_HELP_H

#include "base/mem.h"
#include "bus/redis_config.h"
#include "net/stream_test_help.h"

enum { FAKE_MAX_WORDS = 64, FAKE_MAX_TEXTS = 20 };

/* ---- options ---- */

struct fake_values {
    struct bus_value values[REDIS_CONFIG_OPTIONS];
    struct str texts[REDIS_CONFIG_OPTIONS][FAKE_MAX_TEXTS];
};

static inline size_t fake_option(const char *name)
{
    for (size_t i = 0; i < REDIS_CONFIG_OPTIONS; i++) {
        if (strcmp(redis_config_options[i].name, name) == 0) {
            return i;
        }
    }
    fail_msg("no option %s", name);
    return 0;
}

static inline void fake_set(struct fake_values *values, const char *name, const char *text)
{
    size_t i = fake_option(name);
    struct bus_value *value = &values->values[i];
    struct str rest = str_of(text), item;
    value->text = str_of(text);
    value->number = strcmp(text, "true") == 0 || strcmp(text, "pubsub") == 0;
    value->text_count = 0;
    while (str_split(&rest, ',', &item)) {
        values->texts[i][value->text_count++] = item;
    }
    value->texts = values->texts[i];
    if (redis_config_options[i].type == BUS_OPTION_TIME) {
        value->number = strcmp(text, "3s") == 0 ? 3000 : strtoull(text, NULL, 10);
    }
}

/* What each is when nobody says. */
static inline void fake_values_init(struct fake_values *values)
{
    memset(values, 0, sizeof(*values));
    for (size_t i = 0; i < REDIS_CONFIG_OPTIONS; i++) {
        if (redis_config_options[i].initial) {
            fake_set(values, redis_config_options[i].name, redis_config_options[i].initial);
        }
    }
}

/* ---- a server ---- */

/* The server's end of one link. */
struct fake_link {
    int fd;
    struct buf in;
    size_t read;                      /* of in */
    struct str words[FAKE_MAX_WORDS]; /* of the last command */
    size_t count;
};

struct fake_server {
    struct loop *loop;
    int listening;
    uint16_t port;
};

static inline void fake_server_init(struct fake_server *server, struct loop *loop)
{
    signal(SIGPIPE, SIG_IGN);
    server->loop = loop;
    server->listening = server_listen(&server->port);
    fcntl(server->listening, F_SETFL, O_NONBLOCK);
}

static inline void fake_turn(struct fake_server *server, uint64_t end_ms)
{
    assert_int_equal(loop_turn(server->loop, 5), 0);
    assert_true(clock_monotonic_ms() < end_ms);
}

static inline void fake_accept(struct fake_server *server, struct fake_link *link)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    memset(link, 0, sizeof(*link));
    while ((link->fd = accept4(server->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
        fake_turn(server, end_ms);
    }
}

static inline void fake_close(struct fake_link *link)
{
    buf_fini(&link->in);
    if (link->fd > 0) {
        close(link->fd);
    }
    link->fd = -1;
}

static inline bool fake_number(struct str *rest, char kind, size_t *out_number)
{
    struct str line;
    const char *end = rest->len ? memmem(rest->ptr, rest->len, "\r\n", 2) : NULL;
    uint64_t number;
    if (!end) {
        return false;
    }
    line = str_make(rest->ptr, (size_t)(end - rest->ptr));
    assert_int_equal(line.ptr[0], kind);
    assert_true(str_to_u64(str_make(line.ptr + 1, line.len - 1), UINT32_MAX, &number));
    *rest = str_make(end + 2, rest->len - line.len - 2);
    *out_number = number;
    return true;
}

static inline bool fake_parse(struct fake_link *link)
{
    struct str rest = str_make(link->in.data + link->read, link->in.len - link->read);
    size_t len;
    if (!fake_number(&rest, '*', &link->count)) {
        return false;
    }
    assert_true(link->count <= FAKE_MAX_WORDS);
    for (size_t i = 0; i < link->count; i++) {
        if (!fake_number(&rest, '$', &len) || rest.len < len + 2) {
            return false;
        }
        link->words[i] = str_make(rest.ptr, len);
        rest = str_make(rest.ptr + len + 2, rest.len - len - 2);
    }
    link->read = link->in.len - rest.len;
    return true;
}

static inline void fake_fill(struct fake_link *link)
{
    char bytes[4096];
    ssize_t len = recv(link->fd, bytes, sizeof(bytes), 0);
    if (len > 0) {
        buf_append(&link->in, bytes, (size_t)len);
    }
}

/* Turns until the next command is there, which must begin with this word. */
static inline void fake_expect(struct fake_server *server, struct fake_link *link, const char *word)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!fake_parse(link)) {
        fake_turn(server, end_ms);
        fake_fill(link);
    }
    if (!str_equal(link->words[0], str_of(word))) {
        fail_msg("%.*s came instead of %s", STR_ARG(link->words[0]), word);
    }
}

static inline void fake_send(struct fake_link *link, const char *wire)
{
    assert_int_equal(send(link->fd, wire, strlen(wire), MSG_NOSIGNAL), strlen(wire));
}

/* A link that gives a name and asks for the role, as a master. */
static inline void fake_sign_in(struct fake_server *server, struct fake_link *link)
{
    fake_accept(server, link);
    fake_expect(server, link, "CLIENT");
    fake_expect(server, link, "ROLE");
    fake_send(link, "+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
}

#endif
