/* For tests: an HTTP server on a thread that plays canned answers, one a connection, and a verb
 * that is run against it. */
#ifndef TIDEGATE_CLI_TEST_HTTP_SERVER_H
#define TIDEGATE_CLI_TEST_HTTP_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { TEST_HTTP_ROUNDS = 8, TEST_HTTP_TEXT_MAX = 8192 };

struct test_http {
    int listener;
    const char *answers[TEST_HTTP_ROUNDS]; /* whole; NULL: closed without one */
    int rounds;
    char url[64];
    char requests[TEST_HTTP_ROUNDS][TEST_HTTP_TEXT_MAX];
    char out[TEST_HTTP_TEXT_MAX]; /* stdout of the verb */
    pthread_t thread;
};

/* A success with this body: static text. */
#define TEST_HTTP_OK(body) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" body

static inline bool test_http_is_whole(const char *request)
{
    const char *end = strstr(request, "\r\n\r\n");
    const char *length = strstr(request, "Content-Length: ");
    size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
    return end && strlen(end + 4) >= body;
}

static inline void *test_http_serve(void *arg)
{
    struct test_http *server = arg;
    for (int i = 0; i < server->rounds; i++) {
        int fd = accept(server->listener, NULL, NULL);
        char *request = server->requests[i];
        size_t len = 0;
        ssize_t got = 1;
        while (got > 0 && !test_http_is_whole(request)) {
            got = read(fd, request + len, TEST_HTTP_TEXT_MAX - 1 - len);
            len += got > 0 ? (size_t)got : 0;
        }
        if (server->answers[i]) {
            send(fd, server->answers[i], strlen(server->answers[i]), MSG_NOSIGNAL);
        }
        close(fd);
    }
    return NULL;
}

/* Listens; answers begin with test_http_run. */
static inline void test_http_listen(struct test_http *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    memset(server, 0, sizeof(*server));
    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
}

/* Runs the verb with `--url` of the server behind its arguments (NULL at the end), its stdout
 * caught in out. Returns its exit code. */
static inline int test_http_verb(struct test_http *server, int (*verb)(int argc, char **argv),
                                 char **words)
{
    char *argv[32];
    int argc = 0;
    while (words[argc]) {
        argv[argc] = words[argc];
        argc++;
    }
    argv[argc++] = (char *)"--url";
    argv[argc++] = server->url;
    argv[argc] = NULL;
    memset(server->out, 0, sizeof(server->out));
    FILE *saved = stdout;
    stdout = fmemopen(server->out, sizeof(server->out), "w");
    int code = verb(argc, argv);
    fclose(stdout);
    stdout = saved;
    return code;
}

/* The same while the server plays the answers, of which NULL after the first ends the list. */
static inline int test_http_run(struct test_http *server, int (*verb)(int argc, char **argv),
                                char **words, const char *const *answers)
{
    test_http_listen(server);
    server->answers[0] = answers[0];
    for (server->rounds = 1; answers[0] && answers[server->rounds]; server->rounds++) {
        server->answers[server->rounds] = answers[server->rounds];
    }
    assert_int_equal(pthread_create(&server->thread, NULL, test_http_serve, server), 0);
    int code = test_http_verb(server, verb, words);
    pthread_join(server->thread, NULL);
    close(server->listener);
    return code;
}

#define TEST_HTTP_WORDS(...) ((char *[]){__VA_ARGS__, NULL})
#define TEST_HTTP_ANSWERS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
