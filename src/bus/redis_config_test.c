#include "bus/redis_config.h"

#include "bus/redis_test_help.h"

static struct fake_values values;

static int setup(void **state)
{
    fake_values_init(&values);
    fake_set(&values, "url", "redis://gw:pw@h:1/2");
    return 0;
}

static int init(struct redis_config *config, const char **out_option, const char **out_problem)
{
    struct bus_options options = {.queues = 8, .values = values.values};
    size_t option = 0;
    int err = redis_config_init(config, &options, &option, out_problem);
    *out_option = option < REDIS_CONFIG_OPTIONS ? redis_config_options[option].name : "";
    return err;
}

static void assert_refused(const char *option, const char *part)
{
    struct redis_config config;
    const char *found = "", *problem = "";
    assert_int_equal(init(&config, &found, &problem), ERR_SYNTAX);
    assert_string_equal(found, option);
    if (!strstr(problem, part)) {
        fail_msg("bus.%s: %s", option, problem);
    }
}

static struct redis_config accepted(void)
{
    struct redis_config config;
    const char *option, *problem;
    assert_int_equal(init(&config, &option, &problem), 0);
    return config;
}

static void a_url_is_enough(void **state)
{
    struct redis_config config = accepted();
    assert_int_equal(config.mode, REDIS_MODE_STREAMS);
    assert_true(str_equal(config.name, STR("tidegate")));
    assert_int_equal(config.host_count, 1);
    assert_string_equal(config.hosts[0].host, "h");
    assert_int_equal(config.sentinel_count, 0);
    assert_int_equal(config.timeout_ms, 3000);
    assert_null(config.tls);
    redis_config_fini(&config);
}

static void hosts_and_sentinels_are_lists(void **state)
{
    fake_set(&values, "replicas", "a,b:7,[::1]:8");
    struct redis_config config = accepted();
    assert_int_equal(config.host_count, 4);
    assert_int_equal(config.hosts[1].port, REDIS_PORT);
    assert_int_equal(config.hosts[3].port, 8);
    setup(state);
    fake_set(&values, "sentinels", "a,b:7");
    fake_set(&values, "sentinel_master", "mymaster");
    config = accepted();
    assert_int_equal(config.sentinel_count, 2);
    assert_int_equal(config.sentinels[0].port, REDIS_SENTINEL_PORT);
}

static void what_does_not_fit_together_is_said(void **state)
{
    fake_set(&values, "url", "redis://gw@h");
    assert_refused("url", "without a password");
    setup(state);
    fake_set(&values, "name", "a b");
    assert_refused("name", "printable");
    fake_set(&values, "name", "");
    assert_refused("name", "printable");
    setup(state);
    fake_set(&values, "replicas", "a,,b");
    assert_refused("replicas", "host:port");
    setup(state);
    fake_set(&values, "sentinels", "a:b");
    assert_refused("sentinels", "host:port");
    fake_set(&values, "sentinels", "a");
    assert_refused("sentinel_master", "need each other");
    fake_set(&values, "sentinel_master", "m");
    fake_set(&values, "sentinel_user", "u");
    assert_refused("sentinel_user", "sentinel_password");
    fake_set(&values, "replicas", "a");
    assert_refused("sentinels", "exclude");
}

static void there_are_at_most_sixteen(void **state)
{
    fake_set(&values, "replicas", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p");
    assert_int_equal(accepted().host_count, 17);
    fake_set(&values, "replicas", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q");
    assert_refused("replicas", "16");
}

static void tls_is_a_matter_of_the_url(void **state)
{
    fake_set(&values, "tls_ca", "/no/such/file");
    assert_refused("url", "rediss://");
    fake_set(&values, "url", "rediss://h");
    assert_refused("tls_ca", "");
    setup(state);
    fake_set(&values, "url", "rediss://h");
    fake_set(&values, "tls_cert", "/no/such/file");
    assert_refused("tls_cert", "need each other");
    setup(state);
    fake_set(&values, "url", "rediss://h");
    struct redis_config config = accepted();
    assert_non_null(config.tls);
    redis_config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_url_is_enough, setup),
        cmocka_unit_test_setup(hosts_and_sentinels_are_lists, setup),
        cmocka_unit_test_setup(what_does_not_fit_together_is_said, setup),
        cmocka_unit_test_setup(there_are_at_most_sixteen, setup),
        cmocka_unit_test_setup(tls_is_a_matter_of_the_url, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
