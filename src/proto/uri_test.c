#include "proto/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_decodes(struct str in, struct str expected)
{
    char *exact = malloc(in.len ? in.len : 1);
    memcpy(exact, in.ptr, in.len);
    assert_int_equal(uri_decode(str_make(exact, in.len), exact, in.len), expected.len);
    assert_memory_equal(exact, expected.ptr, expected.len);
    free(exact);
}

static void escapes_are_decoded_once_and_in_place(void **state)
{
    assert_decodes(STR(""), STR(""));
    assert_decodes(STR("abc"), STR("abc"));
    assert_decodes(STR("a%20b%2Fc%2f"), STR("a b/c/"));
    assert_decodes(STR("%C3%bc%ff"), STR("\xc3\xbc\xff"));
    assert_decodes(STR("%252e"), STR("%2e"));
    assert_decodes(STR("a+b"), STR("a+b"));
    char out[8];
    assert_int_equal(uri_decode_query(STR("a+b%2B"), out, sizeof(out)), 4);
    assert_memory_equal(out, "a b+", 4);
}

static void bad_escapes_and_nul_are_refused(void **state)
{
    const struct str bad[] = {STR("%"),    STR("a%"),   STR("a%2"),   STR("%2"),   STR("%zz"),
                              STR("%0g"),  STR("%g0"),  STR("%00"),   STR("a\0b"), STR("%%41"),
                              STR("%+41"), STR("% 41"), STR("%u0041")};
    char out[16];
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(uri_decode(bad[i], out, sizeof(out)), ERR_SYNTAX);
        assert_int_equal(uri_decode_query(bad[i], out, sizeof(out)), ERR_SYNTAX);
    }
}

static void decoding_stops_at_the_capacity(void **state)
{
    char out[3];
    assert_int_equal(uri_decode(STR("a%62c"), out, 3), 3);
    assert_int_equal(uri_decode(STR("a%62cd"), out, 3), ERR_TOO_LARGE);
    assert_int_equal(uri_decode(STR(""), out, 0), 0);
    assert_int_equal(uri_decode(STR("a"), out, 0), ERR_TOO_LARGE);
}

static void paths_are_never_normalised_but_checked(void **state)
{
    const char *good[] = {"/",           "/a",    "/a/",    "/v1/users/4%2F2/messages",
                          "/...",        "/a..b", "/.a",    "/v1/messages:batch",
                          "/%252e%252e", "/a%2e", "/..%2f", "/a/..b"};
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(uri_path_check(str_of(good[i])), 0);
    }
    /* BAD-INPUT H19 */
    const char *bad[] = {"",       "a",      "*",    "//",        "/a//b", "/..",       "/.",
                         "/../a",  "/a/./b", "/%2e", "/%2E%2e/a", "/.%2e", "/a/%2e./b", "/%00",
                         "/a%00b", "/%",     "/%g1", "/a/b%2",    "/a/..", "//a"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (uri_path_check(str_of(bad[i])) != ERR_SYNTAX) {
            fail_msg("%s passed", bad[i]);
        }
    }
}

static void an_encoded_slash_stays_inside_its_segment(void **state)
{
    struct str rest = STR("/users/a%2Fb/messages/");
    const char *expected[] = {"users", "a%2Fb", "messages", ""};
    struct str segment;
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(uri_path_next(&rest, &segment));
        assert_true(str_equal(segment, str_of(expected[i])));
    }
    assert_false(uri_path_next(&rest, &segment));
    assert_false(uri_path_next(&rest, &segment));
    rest = STR("no-slash");
    assert_false(uri_path_next(&rest, &segment));
    rest = STR("/");
    assert_true(uri_path_next(&rest, &segment));
    assert_int_equal(segment.len, 0);
    assert_false(uri_path_next(&rest, &segment));
}

static void a_query_gives_its_pairs_in_order(void **state)
{
    struct str rest = STR("&a=1&&b&=c&d=e=f&");
    const char *expected[][2] = {{"a", "1"}, {"b", ""}, {"", "c"}, {"d", "e=f"}};
    struct str name;
    struct str value;
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(uri_query_next(&rest, &name, &value));
        assert_true(str_equal(name, str_of(expected[i][0])));
        assert_true(str_equal(value, str_of(expected[i][1])));
    }
    assert_false(uri_query_next(&rest, &name, &value));
    rest = (struct str){NULL, 0};
    assert_false(uri_query_next(&rest, &name, &value));
    rest = STR("");
    assert_false(uri_query_next(&rest, &name, &value));
}

static void a_query_value_is_found_by_its_decoded_name(void **state)
{
    char out[8];
    struct str query = STR("ttl%5Fms=1%30&type=a+b&twice=1&twice=2&empty=&long=123456789&p+q=r");
    assert_int_equal(uri_query_get(query, STR("ttl_ms"), out, sizeof(out)), 2);
    assert_memory_equal(out, "10", 2);
    assert_int_equal(uri_query_get(query, STR("type"), out, sizeof(out)), 3);
    assert_memory_equal(out, "a b", 3);
    assert_int_equal(uri_query_get(query, STR("p q"), out, sizeof(out)), 1);
    assert_int_equal(uri_query_get(query, STR("empty"), out, sizeof(out)), 0);
    assert_int_equal(uri_query_get(query, STR("typ"), out, sizeof(out)), ERR_NOT_FOUND);
    assert_int_equal(uri_query_get(query, STR("types"), out, sizeof(out)), ERR_NOT_FOUND);
    assert_int_equal(uri_query_get(query, STR("twice"), out, sizeof(out)), ERR_EXISTS);
    assert_int_equal(uri_query_get(query, STR("long"), out, sizeof(out)), ERR_TOO_LARGE);
    assert_int_equal(uri_query_get(STR("a=1&%=2"), STR("a"), out, sizeof(out)), ERR_SYNTAX);
    assert_int_equal(uri_query_get(STR("a=%"), STR("a"), out, sizeof(out)), ERR_SYNTAX);
    assert_int_equal(uri_query_get((struct str){NULL, 0}, STR("a"), out, sizeof(out)),
                     ERR_NOT_FOUND);
}

static void what_is_encoded_decodes_to_itself(void **state)
{
    char all[255];
    for (int i = 0; i < 255; i++) {
        all[i] = (char)(i + 1);
    }
    struct buf encoded = {0};
    assert_int_equal(uri_encode(&encoded, str_make(all, sizeof(all))), 0);
    char back[255];
    assert_int_equal(uri_decode(buf_str(&encoded), back, sizeof(back)), sizeof(all));
    assert_memory_equal(back, all, sizeof(all));
    buf_clear(&encoded);
    uri_encode(&encoded, STR("aZ0-._~ /\xff"));
    assert_true(str_equal(buf_str(&encoded), STR("aZ0-._~%20%2F%FF")));
    buf_fini(&encoded);

    mem_fail_nth(1);
    assert_int_equal(uri_encode(&encoded, STR("a")), ERR_NO_MEMORY);
    buf_fini(&encoded);
}

static void assert_host_port(const char *text, const char *host, uint16_t port)
{
    struct str got_host;
    uint16_t got_port;
    assert_int_equal(uri_split_host_port(str_of(text), 7, &got_host, &got_port), 0);
    assert_true(str_equal(got_host, str_of(host)));
    assert_int_equal(got_port, port);
}

static void a_host_may_have_brackets_and_a_port(void **state)
{
    assert_host_port("a", "a", 7);
    assert_host_port("a:1", "a", 1);
    assert_host_port("a:65535", "a", 65535);
    assert_host_port("[::1]", "::1", 7);
    assert_host_port("[::1]:2", "::1", 2);
    assert_host_port("", "", 7);
    assert_host_port(":3", "", 3);
    static const char *const bad[] = {"a:",   "a:0",   "a:65536", "a:1:2", "::1",
                                      "[::1", "[a]b1", "[a]:",    "a:+1",  "a:1x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct str host = STR("before");
        uint16_t port = 9;
        assert_int_equal(uri_split_host_port(str_of(bad[i]), 7, &host, &port), ERR_SYNTAX);
        assert_true(port == 9 && str_equal(host, STR("before")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_are_decoded_once_and_in_place),
        cmocka_unit_test(bad_escapes_and_nul_are_refused),
        cmocka_unit_test(decoding_stops_at_the_capacity),
        cmocka_unit_test(paths_are_never_normalised_but_checked),
        cmocka_unit_test(an_encoded_slash_stays_inside_its_segment),
        cmocka_unit_test(a_query_gives_its_pairs_in_order),
        cmocka_unit_test(a_query_value_is_found_by_its_decoded_name),
        cmocka_unit_test(what_is_encoded_decodes_to_itself),
        cmocka_unit_test(a_host_may_have_brackets_and_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
