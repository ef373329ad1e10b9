#include "app/config_export.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_try.h"
#include "net/tls_test_help.h"

static struct {
    char dir[64];
    char secret[PATH_MAX];
    struct identity authority;
} made;

static int make_all(void **state)
{
    snprintf(made.dir, sizeof(made.dir), "/tmp/tidegate-export-XXXXXX");
    assert_non_null(mkdtemp(made.dir));
    snprintf(made.secret, sizeof(made.secret), "%s/secret", made.dir);
    identity_write_file(made.secret, "Bearer s3cret\n");
    chmod(made.secret, 0600);
    identity_make(&made.authority, "collector", NULL, "DNS:collector.test", 86400);
    identity_write(&made.authority, made.dir, "authority");
    return 0;
}

static int remove_all(void **state)
{
    unlink(made.secret);
    identity_fini(&made.authority);
    rmdir(made.dir);
    return 0;
}

static void without_the_section_nobody_is_told(void **state)
{
    struct settings *settings = config_try("workers: 1\n");
    const struct settings_otlp *otlp = &settings->metrics.otlp;
    assert_int_equal(otlp->url.len, 0);
    assert_int_equal(settings->metrics.statsd.address.len, 0);
    assert_int_equal(otlp->interval_ms, 15000);
    assert_true(otlp->metrics && otlp->gzip && !otlp->traces);
    settings_unref(settings);
}

static void all_of_it_is_read(void **state)
{
    char yaml[4 * PATH_MAX];
    snprintf(yaml, sizeof(yaml),
             "metrics:\n  otlp:\n    url: https://collector.test:4318/x\n    interval: 5s\n"
             "    timeout: 2s\n    headers:\n      - {name: Authorization, file: %s}\n"
             "      - {name: X-Tenant, value: seven}\n    ca: %s\n    gzip: false\n"
             "    metrics: false\n    traces: true\n    span_queue: 64\n    max_traces: 0\n"
             "  statsd: {address: 'h:8125', interval: 1s, prefix: p., tags: dogstatsd}\n",
             made.secret, made.authority.cert_file);
    struct settings *settings = config_try(yaml);
    const struct settings_export *metrics = &settings->metrics;
    assert_true(str_equal(metrics->otlp.url, STR("https://collector.test:4318/x")));
    assert_int_equal(metrics->otlp.header_count, 2);
    assert_true(str_equal(metrics->otlp.headers[0].name, STR("Authorization")));
    assert_true(str_equal(metrics->otlp.headers[0].value, STR("Bearer s3cret")));
    assert_true(str_equal(metrics->otlp.headers[1].value, STR("seven")));
    assert_true(str_equal(metrics->otlp.ca, str_of(made.authority.cert_pem)));
    assert_false(metrics->otlp.gzip || metrics->otlp.metrics);
    assert_true(metrics->otlp.traces);
    assert_int_equal(metrics->otlp.span_queue, 64);
    assert_int_equal(metrics->otlp.max_traces, 0);
    assert_true(str_equal(metrics->statsd.address, STR("h:8125")));
    assert_int_equal(metrics->statsd.interval_ms, 1000);
    assert_true(str_equal(metrics->statsd.prefix, STR("p.")));
    assert_int_equal(metrics->statsd.tags, SETTINGS_STATSD_DOGSTATSD);
    settings_unref(settings);
}

#define HEADERS "metrics:\n  otlp:\n    headers:\n      - "

static void what_does_not_fit_is_told_without_its_value(void **state)
{
    config_must_mention(HEADERS "{name: A}\n", "expected either \"file\" or \"value\"");
    config_must_mention(HEADERS "{name: A, value: \"a\\nb\"}\n",
                        "expected one line without control characters");
    config_must_mention(HEADERS "{name: A, value: \" a\"}\n", "without white space at the ends");
    config_must_mention(HEADERS "{name: A, value: []}\n", "expected the value of a header");
    config_must_mention(HEADERS "{name: A B, value: b}\n", "an HTTP token");
    config_must_mention(HEADERS "{name: content-TYPE, value: b}\n",
                        "\"content-TYPE\" is set by the gateway");
    config_must_mention("metrics: {otlp: {url: 'http://x?k=1'}}\n", "without a user or a query");
    config_must_mention("metrics: {otlp: {span_queue: 63}}\n", "from 64 to");
    config_must_mention("metrics: {otlp: {max_traces: 1000001}}\n", "from 0 to 1000000");
    config_must_mention("metrics: {statsd: {address: nowhere}}\n", "a host and a port");
    config_must_mention("metrics: {statsd: {tags: some}}\n", "dogstatsd");
}

static void a_ca_must_be_one_and_is_for_https(void **state)
{
    char yaml[2 * PATH_MAX];
    snprintf(yaml, sizeof(yaml), "metrics: {otlp: {url: 'http://x', ca: %s}}\n",
             made.authority.cert_file);
    config_must_mention(yaml, "\"ca\" needs a URL with https");
    snprintf(yaml, sizeof(yaml), "metrics: {otlp: {url: 'https://x', ca: %s}}\n", made.secret);
    config_must_mention(yaml, "metrics.otlp.ca");
}

static void headers_in_clear_are_warned_of(void **state)
{
    const char *rest = "headers: [{name: A, value: b}]}}\n";
    char yaml[256];
    snprintf(yaml, sizeof(yaml), "metrics: {otlp: {url: 'http://collector.test', %s", rest);
    settings_unref(config_try(yaml));
    assert_non_null(strstr(config_said, "the headers go over the network in clear"));
    snprintf(yaml, sizeof(yaml), "metrics: {otlp: {url: 'http://127.0.0.1:4318', %s", rest);
    settings_unref(config_try(yaml));
    assert_string_equal(config_said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_section_nobody_is_told),
        cmocka_unit_test(all_of_it_is_read),
        cmocka_unit_test(what_does_not_fit_is_told_without_its_value),
        cmocka_unit_test(a_ca_must_be_one_and_is_for_https),
        cmocka_unit_test(headers_in_clear_are_warned_of),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
