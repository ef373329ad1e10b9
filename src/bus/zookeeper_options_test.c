#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "bus/zookeeper_private.h"

static struct str servers[2];
static struct bus_value values[ZK_OPTION_COUNT];
static struct bus_options options;

static int setup(void **state)
{
    servers[0] = STR("zk-1:2181");
    servers[1] = STR("[::1]:2181");
    memset(values, 0, sizeof(values));
    values[ZK_SERVERS] = (struct bus_value){.texts = servers, .text_count = 2};
    values[ZK_PATH].text = STR("/tidegate");
    values[ZK_AUTH].text = STR("");
    options = (struct bus_options){.queues = 8, .values = values};
    return 0;
}

static void assert_good(void)
{
    size_t option = 99;
    const char *problem = NULL;
    assert_int_equal(zk_check(&options, &option, &problem), 0);
    assert_null(problem);
}

static void assert_refused(size_t at, const char *about)
{
    size_t option = 99;
    const char *problem = NULL;
    assert_int_equal(zk_check(&options, &option, &problem), ERR_SYNTAX);
    assert_int_equal(option, at);
    assert_non_null(strstr(problem, about));
}

static void each_option_is_in_its_place(void **state)
{
    for (int i = 0; i < ZK_OPTION_COUNT; i++) {
        assert_non_null(zk_options[i].name);
        assert_non_null(zk_options[i].help);
        assert_true(zk_options[i].initial || zk_options[i].example);
    }
}

static void a_server_is_a_host_with_or_without_a_port(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {{"zk-1:2182", "zk-1", 2182},
                {"10.0.0.1:1", "10.0.0.1", 1},
                {"zk-1", "zk-1", 2181},
                {"[::1]:65535", "::1", 65535},
                {"[fe80::1%eth0]", "fe80::1%eth0", 2181}};
    char host[256];
    uint16_t port;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(zk_server_parse(str_of(good[i].text), host, sizeof(host), &port), 0);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    static const char *const bad[] = {
        "",      ":2181",     "zk-1:", "zk-1:0",    "zk-1:70000", "zk-1:21a", "zk-1:2181/app",
        "a,b:1", "zk 1:2181", "[::1",  "[::1]2181", "[]:2181",    "::1:2181"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(zk_server_parse(str_of(bad[i]), host, sizeof(host), &port), ERR_SYNTAX);
    }
    assert_int_equal(zk_server_parse(STR("zk-1"), host, 4, &port), ERR_SYNTAX);
}

static void what_is_wrong_is_told_with_its_option(void **state)
{
    assert_good();
    servers[1] = STR("zk-2:2181/chroot");
    assert_refused(ZK_SERVERS, "host:port");
    servers[1] = STR("zk-2");
    values[ZK_PATH].text = STR("tidegate");
    assert_refused(ZK_PATH, "slash");
    values[ZK_PATH].text = STR("/tidegate");
    static const char *const bad[] = {
        "digest",           "digest:",       "digest:user",       "digest:user:",
        "digest::password", "user:password", "sasl:user:password"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        values[ZK_AUTH].text = str_of(bad[i]);
        assert_refused(ZK_AUTH, "digest:user:password");
    }
    values[ZK_AUTH].text = STR("digest:user:pass:word");
    assert_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_option_is_in_its_place, setup),
        cmocka_unit_test_setup(a_server_is_a_host_with_or_without_a_port, setup),
        cmocka_unit_test_setup(what_is_wrong_is_told_with_its_option, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
