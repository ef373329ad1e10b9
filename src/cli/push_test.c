/* Of cli_push as a whole, against a server on a thread that plays one canned answer. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/exit_code.h"

struct server {
    int listener;
    const char *answer; /* NULL: closes without one */
    char url[64];
    char request[4096];
    pthread_t thread;
};

/* Reads until the data that every test pushes, then answers. */
static void *serve(void *arg)
{
    struct server *server = arg;
    int fd = accept(server->listener, NULL, NULL);
    size_t len = 0;
    ssize_t got = 1;
    while (got > 0 && !strstr(server->request, "\"data\":\"end\"}")) {
        got = read(fd, server->request + len, sizeof(server->request) - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    }
    if (server->answer) {
        send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

static void start(struct server *server, const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    *server = (struct server){.listener = socket(AF_INET, SOCK_STREAM, 0), .answer = answer};
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
}

/* Runs `tidegate push --user u --data '"end"'` against it, its stdout caught in out. */
static int push_to(struct server *server, char *out, size_t cap)
{
    char *argv[] = {"push", "--user", "u", "--data", "\"end\"", "--url", server->url, NULL};
    memset(out, 0, cap);
    FILE *saved = stdout;
    stdout = fmemopen(out, cap, "w");
    int code = cli_push(7, argv);
    fclose(stdout);
    stdout = saved;
    return code;
}

static int push(struct server *server, const char *answer, char *out, size_t cap)
{
    start(server, answer);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    int code = push_to(server, out, cap);
    pthread_join(server->thread, NULL);
    close(server->listener);
    return code;
}

static struct server server;
static char out[1024];

static void an_accepted_push_prints_its_id_and_ends_with_0(void **state)
{
    setenv("TIDEGATE_API_KEY", "tg_secret", 1);
    assert_int_equal(push(&server,
                          "HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{\"id\":\"m1\"}", out,
                          sizeof(out)),
                     EXIT_CODE_OK);
    assert_string_equal(out, "m1\n");
    assert_non_null(strstr(server.request, "POST /v1/messages HTTP/1.1\r\n"));
    assert_non_null(strstr(server.request, "Authorization: Bearer tg_secret\r\n"));
}

static void a_refusal_ends_with_1_and_prints_nothing(void **state)
{
    unsetenv("TIDEGATE_API_KEY");
    assert_int_equal(
        push(&server, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", out, sizeof(out)),
        EXIT_CODE_REFUSED);
    assert_string_equal(out, "");
    assert_null(strstr(server.request, "Authorization"));
}

static void what_is_lost_or_foreign_has_its_own_code(void **state)
{
    assert_int_equal(push(&server, NULL, out, sizeof(out)), EXIT_CODE_CONNECT);
    assert_int_equal(push(&server, "HTTP/1.1 202 Accepted\r\nContent-Le", out, sizeof(out)),
                     EXIT_CODE_CONNECT);
    assert_int_equal(push(&server, "220 smtp.example ESMTP\r\n\r\n", out, sizeof(out)),
                     EXIT_CODE_PROTOCOL);
    assert_int_equal(push(&server, "HTTP/1.1 200 OK\r\n\r\n<html>", out, sizeof(out)),
                     EXIT_CODE_PROTOCOL);
    assert_string_equal(out, "");
}

static void nobody_there_ends_with_3(void **state)
{
    start(&server, NULL);
    close(server.listener);
    assert_int_equal(push_to(&server, out, sizeof(out)), EXIT_CODE_CONNECT);
}

static void silence_ends_with_4(void **state)
{
    start(&server, NULL);
    char *argv[] = {"push", "--all", "--data", "1", "--timeout", "20ms", "--url", server.url, NULL};
    assert_int_equal(cli_push(8, argv), EXIT_CODE_TIMEOUT);
    close(server.listener);
}

static void a_key_that_cannot_be_sent_is_a_usage_error(void **state)
{
    setenv("TIDEGATE_API_KEY", "two words", 1);
    char *argv[] = {"push", "--all", "--data", "1", NULL};
    assert_int_equal(cli_push(4, argv), EXIT_CODE_USAGE);
    unsetenv("TIDEGATE_API_KEY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_accepted_push_prints_its_id_and_ends_with_0),
        cmocka_unit_test(a_refusal_ends_with_1_and_prints_nothing),
        cmocka_unit_test(what_is_lost_or_foreign_has_its_own_code),
        cmocka_unit_test(nobody_there_ends_with_3),
        cmocka_unit_test(silence_ends_with_4),
        cmocka_unit_test(a_key_that_cannot_be_sent_is_a_usage_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
