#include "cli/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void its_parts_are_taken_apart(void **state)
{
    const struct {
        const char *text;
        bool is_websocket, is_secure;
        const char *host;
        uint16_t port;
        const char *authority;
        const char *target;
    } cases[] = {
        {"http://127.0.0.1:8081", false, false, "127.0.0.1", 8081, "127.0.0.1:8081", ""},
        {"ws://localhost/v1/ws?app=a", true, false, "localhost", 80, "localhost", "/v1/ws?app=a"},
        {"WSS://push.example.com", true, true, "push.example.com", 443, "push.example.com", ""},
        {"https://[::1]:8443/a/", false, true, "::1", 8443, "[::1]:8443", "/a/"},
        {"http://[fe80::1]?x", false, false, "fe80::1", 80, "[fe80::1]", "?x"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct url url;
        const char *reason;
        assert_int_equal(url_parse(&url, cases[i].text, &reason), 0);
        assert_int_equal(url.is_websocket, cases[i].is_websocket);
        assert_int_equal(url.is_secure, cases[i].is_secure);
        assert_string_equal(url.host, cases[i].host);
        assert_int_equal(url.port, cases[i].port);
        assert_string_equal(url.authority, cases[i].authority);
        assert_true(str_equal(url.target, str_of(cases[i].target)));
    }
}

static void what_is_no_url_of_ours_is_refused_with_the_reason(void **state)
{
    const char *bad[] = {"",
                         "127.0.0.1:8080",
                         "ftp://a",
                         "http:/a",
                         "http://",
                         "http:///path",
                         "http://:80",
                         "http://a:",
                         "http://a:0",
                         "http://a:65536",
                         "http://a:8o",
                         "http://a b/",
                         "http://a/\n",
                         "http://a/\xc3\xa9",
                         "http://a/#x",
                         "http://user:secret@a/",
                         "http://[::1",
                         "http://[::1]80",
                         "http://[]",
                         "http://["};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct url url;
        const char *reason = NULL;
        assert_int_equal(url_parse(&url, bad[i], &reason), ERR_SYNTAX);
        assert_non_null(reason);
    }
}

static void an_overlong_host_is_refused(void **state)
{
    char text[600] = "http://";
    memset(text + 7, 'a', 500);
    struct url url;
    const char *reason = NULL;
    for (size_t len = 250; len < 500; len++) {
        text[7 + len] = '\0';
        int err = url_parse(&url, text, &reason);
        assert_int_equal(err, len < URL_HOST_MAX ? 0 : ERR_SYNTAX);
        text[7 + len] = 'a';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_parts_are_taken_apart),
        cmocka_unit_test(what_is_no_url_of_ours_is_refused_with_the_reason),
        cmocka_unit_test(an_overlong_host_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
