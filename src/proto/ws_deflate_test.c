#include "proto/ws_deflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

enum { LIMIT = 64 * 1024 };

struct fixture {
    struct ws_deflater *deflater;
    struct ws_inflater *inflater;
    struct buf out;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    *state = &f;
    return ws_deflater_create(&f.deflater, 6) || ws_inflater_create(&f.inflater);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ws_deflater_destroy(f->deflater);
    ws_inflater_destroy(f->inflater);
    buf_fini(&f->out);
    return 0;
}

/* Text of every compressibility: 0 random, else the number of distinct words. */
static void fill(uint8_t *data, size_t len, unsigned words)
{
    uint32_t seed = 12345;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = words ? (uint8_t)('a' + (i / 7 * 31 % words + i % 7) % 26)
                        : (uint8_t)(seed >> 24);
    }
}

#define INFLATE(wire, limit, out) ws_inflate(f->inflater, STR(wire), limit, out)

static void messages_survive_every_window_and_length(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[LIMIT];
    const size_t lens[] = {0, 1, 2, 13, 255, 256, 257, 4096, 32767, 32768, 32769, LIMIT};
    for (int bits = 9; bits <= 15; bits++) {
        for (size_t i = 0; i < 3 * sizeof(lens) / sizeof(lens[0]); i++) {
            size_t len = lens[i / 3];
            fill(data, len, i % 3 * 50);
            buf_clear(&f->out);
            assert_int_equal(ws_deflate(f->deflater, bits, str_make(data, len), &f->out), 0);
            struct str back;
            assert_int_equal(ws_inflate(f->inflater, buf_str(&f->out), LIMIT, &back), 0);
            assert_true(str_equal(back, str_make(data, len)));
        }
    }
}

/* What a narrow window made must not look further back than the window. */
static void a_narrow_window_is_kept(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[8192];
    fill(data, 4096, 0);
    memcpy(data + 4096, data, 4096); /* repeats, 4,096 bytes back */
    struct str text = str_make(data, sizeof(data));
    assert_int_equal(ws_deflate(f->deflater, 15, text, &f->out), 0);
    assert_true(f->out.len < 4700);
    buf_clear(&f->out);
    assert_int_equal(ws_deflate(f->deflater, 11, text, &f->out), 0);
    assert_true(f->out.len > 8000);
}

static void output_is_appended_and_a_full_buffer_keeps_what_it_had(void **state)
{
    struct fixture *f = *state;
    buf_append_str(&f->out, STR("head"));
    f->out.max = 10;
    for (int bits = 14; bits <= 15; bits++) {
        assert_int_equal(ws_deflate(f->deflater, bits, STR("0123456789"), &f->out), ERR_TOO_LARGE);
        assert_true(str_equal(buf_str(&f->out), STR("head")));
        f->out.err = 0;
    }
    f->out.max = 0;
    assert_int_equal(ws_deflate(f->deflater, 15, STR("0123456789"), &f->out), 0);
    assert_memory_equal(f->out.data, "head", 4);
}

static void an_empty_message_is_one_zero_byte(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ws_deflate(f->deflater, 15, STR(""), &f->out), 0);
    assert_int_equal(f->out.len, 1);
    assert_int_equal(f->out.data[0], 0);
    struct str back;
    assert_int_equal(INFLATE("\0", LIMIT, &back), 0);
    assert_int_equal(back.len, 0);
    assert_int_equal(INFLATE("", LIMIT, &back), 0);
    assert_int_equal(back.len, 0);
}

static void the_examples_of_rfc_7692_inflate(void **state)
{
    struct fixture *f = *state;
    struct str back;
    const struct str examples[] = {
        STR("\xf2\x48\xcd\xc9\xc9\x07\x00"),                         /* 7.2.3.1 */
        STR("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),         /* 7.2.3.3, stored */
        STR("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),                     /* 7.2.3.4, final */
        STR("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), /* 7.2.3.5, two blocks */
        STR("\xf3\x48\xcd\xc9\xc9\x07\x00"),                         /* final, zero forgotten */
        STR("\x01\x01\x00\xfe\xff\x48\x01\x04\x00\xfb\xff\x65\x6c\x6c\x6f\x00"), /* final twice */
    };
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        assert_int_equal(ws_inflate(f->inflater, examples[i], LIMIT, &back), 0);
        assert_true(str_equal(back, STR("Hello")));
    }
}

/* "Hello", final; then a fixed block of a match (length 5, distance 5): it may refer back. */
static void a_block_behind_a_final_one_may_refer_to_it(void **state)
{
    struct fixture *f = *state;
    struct str back;
    /* 010 header: BFINAL 0, BTYPE 01; 0000011 length 5; 00100 0 distance 5; 0000000 end */
    const char wire[] = "\x01\x05\x00\xfa\xff"
                        "Hello"
                        "\x02\x13\x00\x00";
    assert_int_equal(ws_inflate(f->inflater, str_make(wire, sizeof(wire) - 1), LIMIT, &back), 0);
    assert_true(str_equal(back, STR("HelloHello")));
}

/* W19 */
static void bad_deflate_data_is_refused(void **state)
{
    struct fixture *f = *state;
    struct str back = STR("untouched");
    const struct str bad[] = {
        STR("\x07"),                             /* block type 3 */
        STR("\x00\x05\x00\xfb\xff\x48\x65"),     /* stored, lengths that do not match */
        STR("\x00\x05\x00\xfa\xff\x48"),         /* stored, longer than the message */
        STR("\x00\xff\x00\x00\xff\x48"),         /* the same, so that it swallows the tail */
        STR("\x02\x13\x00\x00"),                 /* a match before the start */
        STR("\xf2\x48\xcd"),                     /* cut in a block */
        STR("\x78\x9c\xf3\x48\xcd\xc9\xc9\x07"), /* a zlib header */
        STR("\x78\xbb\x00\x00\x00\x01"),         /* and one that asks for a preset dictionary */
        STR("\xff\xff\xff\xff"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (ws_inflate(f->inflater, bad[i], LIMIT, &back) != ERR_SYNTAX) {
            fail_msg("case %zu", i);
        }
        assert_true(str_equal(back, STR("untouched")));
        assert_int_equal(INFLATE("\xf2\x48\xcd\xc9\xc9\x07\x00", LIMIT, &back), 0);
        back = STR("untouched");
    }
}

static void nothing_is_remembered_from_the_message_before(void **state)
{
    struct fixture *f = *state;
    struct str back;
    assert_int_equal(INFLATE("\xf2\x48\xcd\xc9\xc9\x07\x00", LIMIT, &back), 0);
    assert_int_equal(INFLATE("\x02\x13\x00\x00", LIMIT, &back), ERR_SYNTAX);
    assert_int_equal(INFLATE("\xf3\x48\xcd\xc9\xc9\x07\x00", LIMIT, &back), 0);
    assert_int_equal(INFLATE("\x02\x13\x00\x00", LIMIT, &back), ERR_SYNTAX);
}

/* W9 */
static void a_message_at_the_limit_passes_and_one_byte_more_does_not(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[LIMIT + 1];
    for (unsigned words = 0; words <= 100; words += 50) {
        fill(data, sizeof(data), words);
        struct str back;
        buf_clear(&f->out);
        assert_int_equal(ws_deflate(f->deflater, 15, str_make(data, LIMIT), &f->out), 0);
        assert_int_equal(ws_inflate(f->inflater, buf_str(&f->out), LIMIT, &back), 0);
        assert_int_equal(back.len, LIMIT);
        buf_clear(&f->out);
        assert_int_equal(ws_deflate(f->deflater, 15, str_make(data, LIMIT + 1), &f->out), 0);
        assert_int_equal(ws_inflate(f->inflater, buf_str(&f->out), LIMIT, &back), ERR_TOO_LARGE);
    }
    struct str back;
    assert_int_equal(INFLATE("\0", 0, &back), 0);
    assert_int_equal(INFLATE("\xf2\x48\xcd\xc9\xc9\x07\x00", 0, &back), ERR_TOO_LARGE);
    assert_int_equal(INFLATE("\xf2\x48\xcd\xc9\xc9\x07\x00", SIZE_MAX, &back), 0);
}

/* W18: 64 MiB of zeroes in 64 KiB. What the inflater holds shows how far it went. */
static void a_bomb_is_cut_at_the_limit(void **state)
{
    struct fixture *f = *state;
    const size_t size = 64u << 20;
    uint8_t *zeroes = mem_zalloc(size);
    assert_non_null(zeroes);
    assert_int_equal(ws_deflate(f->deflater, 15, str_make(zeroes, size), &f->out), 0);
    mem_free(zeroes);
    int64_t before = mem_accounted(MEM_SESSIONS);
    struct str back;
    assert_int_equal(ws_inflate(f->inflater, buf_str(&f->out), LIMIT, &back), ERR_TOO_LARGE);
    assert_true(mem_accounted(MEM_SESSIONS) - before <= 2 * (LIMIT + WS_INFLATE_BLOCK));
}

static void a_flood_of_empty_blocks_is_no_message_but_costs_no_memory(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20000; i++) {
        buf_append(&f->out, "\x01\x00\x00\xff\xff", 5); /* final and empty */
    }
    buf_append_char(&f->out, 0);
    struct str back;
    assert_int_equal(ws_inflate(f->inflater, buf_str(&f->out), LIMIT, &back), 0);
    assert_int_equal(back.len, 0);
}

static void a_large_output_is_given_back(void **state)
{
    struct fixture *f = *state;
    int64_t before = mem_accounted(MEM_SESSIONS);
    const size_t size = 4u << 20;
    uint8_t *zeroes = mem_zalloc(size);
    assert_non_null(zeroes);
    assert_int_equal(ws_deflate(f->deflater, 15, str_make(zeroes, size), &f->out), 0);
    mem_free(zeroes);
    struct str back;
    assert_int_equal(ws_inflate(f->inflater, buf_str(&f->out), size, &back), 0);
    assert_int_equal(back.len, size);
    assert_true(mem_accounted(MEM_SESSIONS) - before >= (int64_t)size);
    assert_int_equal(INFLATE("\0", size, &back), 0);
    assert_true(mem_accounted(MEM_SESSIONS) - before < 256 * 1024);
    ws_inflater_destroy(f->inflater);
    f->inflater = NULL;
    assert_int_equal(mem_accounted(MEM_SESSIONS), before);
}

static int make_and_use(int bits)
{
    struct ws_deflater *deflater = NULL;
    struct ws_inflater *inflater = NULL;
    struct buf out = {0};
    struct str back;
    static uint8_t data[40000];
    fill(data, sizeof(data), 100);
    struct str text = str_make(data, sizeof(data));
    int err = ws_deflater_create(&deflater, 6);
    err = err ? err : ws_inflater_create(&inflater);
    err = err ? err : ws_deflate(deflater, bits, text, &out);
    err = err ? err : ws_inflate(inflater, buf_str(&out), sizeof(data), &back);
    if (!err) {
        assert_true(str_equal(back, text));
    }
    ws_deflater_destroy(deflater);
    ws_inflater_destroy(inflater);
    buf_fini(&out);
    return err;
}

static void every_allocation_may_fail(void **state)
{
    for (int bits = 14; bits <= 15; bits++) {
        unsigned long failures = 0;
        for (;;) {
            mem_fail_nth(failures + 1);
            int err = make_and_use(bits);
            bool failed = !mem_fail_pending();
            mem_fail_nth(0);
            if (!failed) {
                assert_int_equal(err, 0);
                break;
            }
            assert_int_equal(err, ERR_NO_MEMORY);
            failures++;
        }
        assert_true(failures >= 5);
    }
}

static void contexts_that_could_not_be_made_are_made_at_the_next_call(void **state)
{
    struct fixture *f = *state;
    for (int bits = 14; bits <= 15; bits++) {
        mem_fail_nth(1);
        assert_int_equal(ws_deflate(f->deflater, bits, STR("text"), &f->out), ERR_NO_MEMORY);
        assert_int_equal(f->out.len, 0);
        assert_int_equal(ws_deflate(f->deflater, bits, STR("text"), &f->out), 0);
        buf_clear(&f->out);
    }
    struct str back;
    for (unsigned long nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth);
        assert_int_equal(INFLATE("\xf2\x48\xcd\xc9\xc9\x07\x00", LIMIT, &back), ERR_NO_MEMORY);
    }
    assert_int_equal(INFLATE("\xf2\x48\xcd\xc9\xc9\x07\x00", LIMIT, &back), 0);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(messages_survive_every_window_and_length),
        WITH_FIXTURE(a_narrow_window_is_kept),
        WITH_FIXTURE(output_is_appended_and_a_full_buffer_keeps_what_it_had),
        WITH_FIXTURE(an_empty_message_is_one_zero_byte),
        WITH_FIXTURE(the_examples_of_rfc_7692_inflate),
        WITH_FIXTURE(a_block_behind_a_final_one_may_refer_to_it),
        WITH_FIXTURE(bad_deflate_data_is_refused),
        WITH_FIXTURE(nothing_is_remembered_from_the_message_before),
        WITH_FIXTURE(a_message_at_the_limit_passes_and_one_byte_more_does_not),
        WITH_FIXTURE(a_bomb_is_cut_at_the_limit),
        WITH_FIXTURE(a_flood_of_empty_blocks_is_no_message_but_costs_no_memory),
        WITH_FIXTURE(a_large_output_is_given_back),
        cmocka_unit_test(every_allocation_may_fail),
        WITH_FIXTURE(contexts_that_could_not_be_made_are_made_at_the_next_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
