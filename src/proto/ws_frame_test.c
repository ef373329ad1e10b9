#include "proto/ws_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"

static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

static ssize_t read_bytes(const char *wire, size_t len)
{
    struct ws_frame_header header;
    return ws_frame_header_read(&header, (const uint8_t *)wire, len, true);
}

/* READ("\x81\x05") */
#define READ(wire) read_bytes(wire, sizeof(wire) - 1)

static void a_header_cut_at_any_byte_asks_for_more(void **state)
{
    const uint8_t wire[] = {0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4}; /* binary, masked, 256 bytes */
    struct ws_frame_header header;
    for (size_t len = 0; len < sizeof(wire); len++) {
        assert_int_equal(ws_frame_header_read(&header, wire, len, false), 0);
    }
    assert_int_equal(ws_frame_header_read(&header, wire, sizeof(wire), false), 8);
    assert_true(header.fin && header.masked && !header.compressed);
    assert_int_equal(header.opcode, WS_BINARY);
    assert_int_equal(header.payload_len, 256);
    assert_memory_equal(header.mask_key, ((uint8_t[]){1, 2, 3, 4}), 4);
}

static void what_is_written_reads_back_for_every_kind_of_frame(void **state)
{
    const uint64_t lens[] = {0, 1, 125, 126, 127, 65535, 65536, 1u << 30, INT64_MAX};
    const enum ws_opcode opcodes[] = {WS_CONTINUATION, WS_TEXT, WS_BINARY};
    for (size_t i = 0; i < 9 * 3 * 2 * 2 * 2; i++) {
        struct ws_frame_header header = {.fin = i & 1,
                                         .masked = i & 2,
                                         .opcode = opcodes[i / 8 % 3],
                                         .payload_len = lens[i / 24]};
        header.compressed = (i & 4) && header.opcode != WS_CONTINUATION;
        if (header.masked) {
            memcpy(header.mask_key, key, 4);
        }
        uint8_t wire[WS_HEADER_MAX];
        size_t size = ws_frame_header_write(wire, &header);
        struct ws_frame_header again;
        memset(&again, 0, sizeof(again));
        assert_int_equal(ws_frame_header_read(&again, wire, size, true), size);
        assert_int_equal(again.fin, header.fin);
        assert_int_equal(again.masked, header.masked);
        assert_int_equal(again.compressed, header.compressed);
        assert_int_equal(again.opcode, header.opcode);
        assert_true(again.payload_len == header.payload_len);
        assert_memory_equal(again.mask_key, header.mask_key, 4);
        for (size_t cut = 0; cut < size; cut++) {
            assert_int_equal(ws_frame_header_read(&again, wire, cut, true), 0);
        }
    }
}

static void reserved_opcodes_are_refused_at_the_first_byte(void **state)
{
    for (int opcode = 0; opcode < 16; opcode++) {
        char first = (char)(0x80 | opcode);
        bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
        assert_int_equal(read_bytes(&first, 1), known ? 0 : ERR_PROTOCOL);
    }
}

static void rsv2_and_rsv3_are_refused_always(void **state)
{
    assert_int_equal(READ("\xa1"), ERR_PROTOCOL);
    assert_int_equal(READ("\x91"), ERR_PROTOCOL);
    assert_int_equal(READ("\x89"), 0);
    assert_int_equal(READ("\x99"), ERR_PROTOCOL);
}

static void rsv1_is_good_on_a_first_data_frame_and_only_when_negotiated(void **state)
{
    struct ws_frame_header header;
    const uint8_t text[] = {0xc1, 0x00};
    assert_int_equal(ws_frame_header_read(&header, text, 2, true), 2);
    assert_true(header.compressed);
    assert_int_equal(ws_frame_header_read(&header, text, 2, false), ERR_PROTOCOL);
    assert_int_equal(READ("\xc0\x00"), ERR_PROTOCOL);
    assert_int_equal(READ("\xc8\x00"), ERR_PROTOCOL);
    assert_int_equal(READ("\xc9\x00"), ERR_PROTOCOL);
}

/* W6 */
static void control_frames_are_whole_and_at_most_125_bytes(void **state)
{
    assert_int_equal(READ("\x89\x7d"), 2);
    assert_int_equal(READ("\x89\x7e"), ERR_PROTOCOL);
    assert_int_equal(READ("\x89\x7f"), ERR_PROTOCOL);
    assert_int_equal(READ("\x8a\xfe"), ERR_PROTOCOL);
    assert_int_equal(READ("\x09"), ERR_PROTOCOL);
    assert_int_equal(READ("\x08"), ERR_PROTOCOL);
}

static void a_length_must_be_in_its_shortest_form(void **state)
{
    assert_int_equal(READ("\x82\x7e\x00\x7d"), ERR_PROTOCOL);
    assert_int_equal(READ("\x82\x7e\x00\x00"), ERR_PROTOCOL);
    assert_int_equal(READ("\x82\x7e\x00\x7e"), 4);
    assert_int_equal(READ("\x82\x7f\0\0\0\0\0\0\xff\xff"), ERR_PROTOCOL);
    assert_int_equal(READ("\x82\x7f\0\0\0\0\0\0\0\x01"), ERR_PROTOCOL);
    assert_int_equal(READ("\x82\x7f\0\0\0\0\0\x01\0\0"), 10);
}

/* W4 */
static void a_length_with_the_top_bit_is_refused_before_the_mask_key_came(void **state)
{
    assert_int_equal(READ("\x82\xff\x80\0\0\0\0\0\0\0"), ERR_PROTOCOL);
    assert_int_equal(READ("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xfc"), ERR_PROTOCOL);
    assert_int_equal(READ("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), 0);
    assert_int_equal(READ("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), 10);
}

static void a_refused_header_leaves_the_output_alone(void **state)
{
    struct ws_frame_header header = {.payload_len = 77};
    assert_int_equal(ws_frame_header_read(&header, (const uint8_t *)"\x83\x00", 2, true),
                     ERR_PROTOCOL);
    assert_int_equal(header.payload_len, 77);
}

static void unmasking_works_at_any_offset_length_and_alignment(void **state)
{
    uint8_t plain[80];
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7);
    }
    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; start + len <= sizeof(plain); len++) {
            for (uint64_t offset = 0; offset < 6; offset++) {
                uint8_t data[sizeof(plain)];
                memcpy(data, plain, sizeof(data));
                ws_unmask(data + start, len, key, offset);
                for (size_t i = 0; i < sizeof(data); i++) {
                    bool inside = i >= start && i < start + len;
                    uint8_t by = inside ? key[(i - start + offset) % 4] : 0;
                    assert_int_equal(data[i], plain[i] ^ by);
                }
            }
        }
    }
}

/* W13 */
static void close_codes_that_may_be_sent_are_those_of_the_registry(void **state)
{
    for (unsigned code = 0; code <= UINT16_MAX; code++) {
        bool good = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 &&
                     code != 1006) ||
                    (code >= 3000 && code < 5000);
        assert_int_equal(ws_close_code_is_valid((uint16_t)code), good);
    }
}

static void a_close_body_reads_back(void **state)
{
    uint8_t body[WS_CONTROL_MAX];
    uint16_t code;
    struct str reason;
    size_t len = ws_close_body_write(body, 4101, STR("slow"));
    assert_int_equal(len, 6);
    assert_int_equal(ws_close_body_read(str_make(body, len), &code, &reason), 0);
    assert_int_equal(code, 4101);
    assert_true(str_equal(reason, STR("slow")));

    assert_int_equal(ws_close_body_write(body, WS_CLOSE_NO_STATUS, STR("ignored")), 0);
    assert_int_equal(ws_close_body_read(str_make(body, 0), &code, &reason), 0);
    assert_int_equal(code, WS_CLOSE_NO_STATUS);
    assert_int_equal(reason.len, 0);
}

static void a_bad_close_body_is_refused(void **state)
{
    uint16_t code = 1;
    struct str reason;
    assert_int_equal(ws_close_body_read(STR("\x03"), &code, &reason), ERR_PROTOCOL);
    assert_int_equal(ws_close_body_read(STR("\x03\xed"), &code, &reason), ERR_PROTOCOL);
    assert_int_equal(ws_close_body_read(STR("\x03\xe8"
                                            "a\xff"),
                                        &code, &reason),
                     ERR_UTF8);
    assert_int_equal(ws_close_body_read(STR("\x03\xe8\xc3"), &code, &reason), ERR_UTF8);
    assert_int_equal(code, 1);
}

static void a_long_close_reason_is_cut_between_code_points(void **state)
{
    char text[130];
    memset(text, 'x', sizeof(text));
    memcpy(text + 121, "\xe2\x82\xac", 3); /* a euro sign over the edge */
    uint8_t wire[WS_CONTROL_MAX + 2];
    size_t len = ws_close_frame_write(wire, 1000, str_make(text, sizeof(text)));
    assert_int_equal(len, 2 + 2 + 121);
    assert_int_equal(wire[0], 0x88);
    assert_int_equal(wire[1], 123);
    text[121] = text[122] = text[123] = 'y';
    assert_int_equal(ws_close_frame_write(wire, 1000, str_make(text, sizeof(text))), 127);
}

static void errors_have_their_close_codes(void **state)
{
    assert_int_equal(ws_close_code_for(ERR_PROTOCOL), 1002);
    assert_int_equal(ws_close_code_for(ERR_UTF8), 1007);
    assert_int_equal(ws_close_code_for(ERR_SYNTAX), 1007);
    assert_int_equal(ws_close_code_for(ERR_TOO_LARGE), 1009);
    assert_int_equal(ws_close_code_for(ERR_NO_MEMORY), 1011);
}

static void whole_frames_are_appended_plain_and_masked(void **state)
{
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(ws_frame_append(&out, WS_TEXT, false, STR("Hello")), 0);
    assert_int_equal(ws_frame_append_masked(&out, WS_TEXT, true, STR("Hello"), key), 0);
    assert_int_equal(ws_frame_append(&out, WS_PONG, false, STR("")), 0);
    /* RFC 6455 5.7 */
    const uint8_t expected[] = "\x81\x05Hello"
                               "\xc1\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
                               "\x8a";
    assert_int_equal(out.len, sizeof(expected));
    assert_memory_equal(out.data, expected, sizeof(expected));
    buf_fini(&out);
}

static void a_full_buffer_takes_no_part_of_a_frame(void **state)
{
    struct buf out;
    buf_init(&out, 8);
    assert_int_equal(ws_frame_append(&out, WS_TEXT, false, STR("1234567")), ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    assert_int_equal(ws_frame_append_masked(&out, WS_TEXT, false, STR("1"), key), ERR_TOO_LARGE);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_cut_at_any_byte_asks_for_more),
        cmocka_unit_test(what_is_written_reads_back_for_every_kind_of_frame),
        cmocka_unit_test(reserved_opcodes_are_refused_at_the_first_byte),
        cmocka_unit_test(rsv2_and_rsv3_are_refused_always),
        cmocka_unit_test(rsv1_is_good_on_a_first_data_frame_and_only_when_negotiated),
        cmocka_unit_test(control_frames_are_whole_and_at_most_125_bytes),
        cmocka_unit_test(a_length_must_be_in_its_shortest_form),
        cmocka_unit_test(a_length_with_the_top_bit_is_refused_before_the_mask_key_came),
        cmocka_unit_test(a_refused_header_leaves_the_output_alone),
        cmocka_unit_test(unmasking_works_at_any_offset_length_and_alignment),
        cmocka_unit_test(close_codes_that_may_be_sent_are_those_of_the_registry),
        cmocka_unit_test(a_close_body_reads_back),
        cmocka_unit_test(a_bad_close_body_is_refused),
        cmocka_unit_test(a_long_close_reason_is_cut_between_code_points),
        cmocka_unit_test(errors_have_their_close_codes),
        cmocka_unit_test(whole_frames_are_appended_plain_and_masked),
        cmocka_unit_test(a_full_buffer_takes_no_part_of_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
