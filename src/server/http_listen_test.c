#include "server/http_listen.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/str.h"

static int answered;

static void on_request(void *owner, struct http_exchange *exchange)
{
    answered++;
    http_answer_json(exchange, 200, STR("{}"));
}

static int connect_to(const struct addr *addr)
{
    struct sockaddr_storage to;
    socklen_t len = addr_to_sockaddr(addr, &to);
    int fd = socket(to.ss_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, len), 0);
    return fd;
}

static void a_connection_to_the_listener_is_served(void **state)
{
    static uint8_t buffer[4096];
    struct loop *loop;
    struct settings *settings;
    struct http_service *service;
    struct listener *listener;
    struct addr addr;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(settings_create_default(&settings), 0);
    struct http_service_options options = {.loop = loop,
                                           .name = "test",
                                           .settings = settings,
                                           .receive_buffer = buffer,
                                           .receive_buffer_len = sizeof(buffer),
                                           .on_request = on_request};
    assert_int_equal(http_service_create(&service, &options), 0);
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    assert_int_equal(http_listen(&listener, service, &addr), 0);
    assert_int_not_equal(addr.port, 0);

    int fd = connect_to(&addr);
    struct str request = STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(send(fd, request.ptr, request.len, 0), request.len);
    char answer[256];
    ssize_t got = -1;
    for (int turn = 0; turn < 1000 && got < 0; turn++) {
        assert_int_equal(loop_turn(loop, 10), 0);
        got = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
    }
    assert_true(got > 12);
    assert_memory_equal(answer, "HTTP/1.1 200", 12);
    assert_int_equal(answered, 1);

    close(fd);
    listener_destroy(listener);
    http_service_destroy(service);
    settings_unref(settings);
    loop_destroy(loop);
}

static void an_address_that_is_not_ours_is_an_error(void **state)
{
    struct loop *loop;
    struct settings *settings;
    struct http_service *service;
    struct listener *listener = NULL;
    struct addr addr;
    static uint8_t buffer[64];
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(settings_create_default(&settings), 0);
    struct http_service_options options = {.loop = loop,
                                           .name = "test",
                                           .settings = settings,
                                           .receive_buffer = buffer,
                                           .receive_buffer_len = sizeof(buffer),
                                           .on_request = on_request};
    assert_int_equal(http_service_create(&service, &options), 0);
    assert_int_equal(addr_parse(&addr, STR("192.0.2.1:80")), 0);
    assert_int_equal(http_listen(&listener, service, &addr), -EADDRNOTAVAIL);
    assert_null(listener);
    http_service_destroy(service);
    settings_unref(settings);
    loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_to_the_listener_is_served),
        cmocka_unit_test(an_address_that_is_not_ours_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
