#include "server/api_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"

static struct settings_api_key web_keys[] = {{.name = {"web", 3}, .scopes = SETTINGS_SCOPE_PUSH},
                                             {.name = {"ops", 3}, .scopes = SETTINGS_SCOPE_READ}};
static struct settings_api_key shop_keys[] = {
    {.name = {"shop", 4}, .scopes = SETTINGS_SCOPE_PUSH | SETTINGS_SCOPE_KICK}};
static struct settings_app apps[] = {
    {.name = {"web", 3}, .api_keys = web_keys, .api_key_count = 2},
    {.name = {"none", 4}},
    {.name = {"shop", 4}, .api_keys = shop_keys, .api_key_count = 1},
};
static struct settings settings = {.apps = apps, .app_count = 3};

static int hash_the_keys(void **state)
{
    return digest_sha256(web_keys[0].hash, "web-key", 7) ||
           digest_sha256(web_keys[1].hash, "ops-key", 7) ||
           digest_sha256(shop_keys[0].hash, "shop-key", 8);
}

static void a_key_tells_its_app_name_and_scopes(void **state)
{
    const struct settings_app *app = NULL;
    assert_ptr_equal(api_key_find(&settings, STR("web-key"), &app), &web_keys[0]);
    assert_ptr_equal(app, &apps[0]);
    assert_ptr_equal(api_key_find(&settings, STR("ops-key"), &app), &web_keys[1]);
    assert_ptr_equal(api_key_find(&settings, STR("shop-key"), &app), &shop_keys[0]);
    assert_ptr_equal(app, &apps[2]);
    assert_ptr_equal(api_key_find(&settings, STR("shop-key"), NULL), &shop_keys[0]);
}

static void any_other_text_is_nobodys_key(void **state)
{
    const struct settings_app *app = NULL;
    const struct settings empty = {.app_count = 0};
    assert_null(api_key_find(&settings, STR(""), &app));
    assert_null(api_key_find(&settings, STR("web-ke"), &app));
    assert_null(api_key_find(&settings, STR("web-key\0"), &app));
    assert_null(api_key_find(&settings, STR("WEB-KEY"), &app));
    assert_null(api_key_find(&empty, STR("web-key"), &app));
    assert_null(app);
}

static void a_new_key_fits_its_hash_and_is_new_each_time(void **state)
{
    char key[API_KEY_LEN + 1];
    char other[API_KEY_LEN + 1];
    char hash[API_KEY_HASH_LEN + 1];
    uint8_t digest[DIGEST_SHA256_LEN];
    uint8_t expected[DIGEST_SHA256_LEN];
    assert_int_equal(api_key_make(other, hash), 0);
    assert_int_equal(api_key_make(key, hash), 0);
    assert_string_not_equal(key, other);
    assert_int_equal(strlen(key), API_KEY_LEN);
    assert_int_equal(strncmp(key, "tg_", 3), 0);
    assert_int_equal(
        strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
        API_KEY_LEN);
    assert_true(api_key_hash_parse(str_of(hash), digest));
    assert_int_equal(digest_sha256(expected, key, strlen(key)), 0);
    assert_memory_equal(digest, expected, sizeof(digest));
    assert_false(api_key_hash_parse(str_make(hash, API_KEY_HASH_LEN - 1), digest));
    assert_false(api_key_hash_parse(str_of(hash + 7), digest));
    assert_false(api_key_hash_parse(STR(""), digest));
}

/* BAD-INPUT A9, after "dudect" (Reparaz, Balasch, Verbauwhede): two classes of input in random
 * order, Welch's t-test over the times, the slowest tenth (interrupts) left out. */

enum { SAMPLES = 40000, CALLS_A_SAMPLE = 16, ATTEMPTS = 12 };

typedef const void *(*lookup)(const uint8_t digest[DIGEST_SHA256_LEN]);

static const void *lookup_ours(const uint8_t digest[DIGEST_SHA256_LEN])
{
    return api_key_find_digest(&settings, digest, NULL);
}

/* What must be caught: ends at the first difference. */
static const void *lookup_careless(const uint8_t digest[DIGEST_SHA256_LEN])
{
    const volatile uint8_t *hash = web_keys[0].hash;
    for (int i = 0; i < DIGEST_SHA256_LEN; i++) {
        if (hash[i] != digest[i]) {
            return NULL;
        }
    }
    return &web_keys[0];
}

struct sample {
    uint64_t ns;
    int class;
};

static int compare_samples(const void *a, const void *b)
{
    uint64_t left = ((const struct sample *)a)->ns;
    uint64_t right = ((const struct sample *)b)->ns;
    return (left > right) - (left < right);
}

static uint64_t time_of(lookup find, const uint8_t digest[DIGEST_SHA256_LEN])
{
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < CALLS_A_SAMPLE; i++) {
        __asm__ volatile("" : : "r"(find(digest)) : "memory");
    }
    return clock_ns(CLOCK_MONOTONIC) - start;
}

static void measure(struct sample *samples, lookup find)
{
    uint8_t classes[2][DIGEST_SHA256_LEN];
    uint8_t digest[DIGEST_SHA256_LEN];
    uint32_t random = 2463534242u;
    memcpy(classes[0], web_keys[0].hash, DIGEST_SHA256_LEN);
    memcpy(classes[1], web_keys[0].hash, DIGEST_SHA256_LEN);
    classes[0][0] ^= 1;  /* wrong from the start */
    classes[1][31] ^= 1; /* 31 bytes are right */
    for (int i = 0; i < SAMPLES; i++) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        samples[i].class = (int)(random >> 8 & 1);
        memcpy(digest, classes[samples[i].class], DIGEST_SHA256_LEN);
        samples[i].ns = time_of(find, digest);
    }
}

/* The square of Welch's t: no square root, no libm. */
static double welch_t_squared(lookup find)
{
    static struct sample samples[SAMPLES];
    double count[2] = {0, 0};
    double mean[2] = {0, 0};
    double m2[2] = {0, 0};
    measure(samples, find);
    qsort(samples, SAMPLES, sizeof(samples[0]), compare_samples);
    for (int i = 0; i < SAMPLES * 9 / 10; i++) {
        int class = samples[i].class;
        double delta = (double)samples[i].ns - mean[class];
        count[class] += 1;
        mean[class] += delta / count[class];
        m2[class] += delta * ((double)samples[i].ns - mean[class]);
    }
    double error = m2[0] / (count[0] - 1) / count[0] + m2[1] / (count[1] - 1) / count[1];
    double difference = mean[0] - mean[1];
    return error > 0 ? difference * difference / error : 0;
}

static void how_much_of_a_hash_is_right_does_not_show_in_the_time(void **state)
{
    /* A busy machine can fake a correlation now and then, but hardly each time; a real one is there
     * at every attempt, as the careless comparison shows. */
    bool is_free_of_it = false;
    for (int i = 0; i < ATTEMPTS && !is_free_of_it; i++) {
        is_free_of_it = welch_t_squared(lookup_ours) < 4.5 * 4.5;
    }
    assert_true(is_free_of_it);
}

static void the_measurement_catches_a_careless_comparison(void **state)
{
    bool is_caught = false;
    for (int i = 0; i < ATTEMPTS && !is_caught; i++) {
        is_caught = welch_t_squared(lookup_careless) > 4.5 * 4.5;
    }
    assert_true(is_caught);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_tells_its_app_name_and_scopes),
        cmocka_unit_test(any_other_text_is_nobodys_key),
        cmocka_unit_test(a_new_key_fits_its_hash_and_is_new_each_time),
        cmocka_unit_test(how_much_of_a_hash_is_right_does_not_show_in_the_time),
        cmocka_unit_test(the_measurement_catches_a_careless_comparison),
    };
    return cmocka_run_group_tests(tests, hash_the_keys, NULL);
}
