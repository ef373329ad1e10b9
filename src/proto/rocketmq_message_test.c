#include "proto/rocketmq_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/rocketmq_bytes.h"

#define PROPERTIES "UNIQ_KEY\1k1\2"

/* The first of an answer with four messages, as it was seen. */
static const uint8_t wire[] =
    "\x00\x00\x00\x6d\xda\xa3\x20\xa7\x7a\x6c\x86\xf1\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x40\x04\xbc\x00\x00\x00\x00"
    "\x00\x00\x01\xa2\x08\x31\xb3\xf6\x7f\x00\x00\x01\x00\x00\xbd\x3a\x00\x00\x01\xa2"
    "\x08\x31\xb3\xf9\x7f\x00\x00\x01\x00\x00\x71\xda\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x03one\x03pt2\x00\x0cUNIQ_KEY\x01k1\x02";

enum { WIRE_LEN = sizeof(wire) - 1 };
enum { AT_MAGIC = 4, AT_CRC = 8, AT_OFFSET = 20, AT_SYS_FLAG = 36, AT_BODY = 84 };

static ssize_t read_copy(struct rocketmq_message *message, const void *data, size_t len)
{
    void *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    ssize_t used = rocketmq_message_read(message, str_make(copy, len));
    free(copy);
    return used;
}

static void append_uint(struct buf *out, uint64_t value, int size)
{
    while (size-- > 0) {
        buf_append_char(out, size < 8 ? (char)(value >> (8 * size)) : 0);
    }
}

/* A record like the one above, with other hosts, another form and a topic of any length. */
static void append_record(struct buf *out, uint32_t sys_flag, bool v2, struct str topic)
{
    struct str body = STR("two");
    size_t start = out->len;
    append_uint(out, 0, 4);
    append_uint(out, v2 ? 0xdaa320ab : 0xdaa320a7, 4);
    append_uint(out, crc32(0, (const Bytef *)body.ptr, 3) & 0x7fffffff, 4);
    append_uint(out, 5, 4);
    append_uint(out, 6, 4);
    append_uint(out, 7, 8);
    append_uint(out, 8, 8);
    append_uint(out, sys_flag, 4);
    append_uint(out, 9, 8);
    append_uint(out, 0, sys_flag & 0x10 ? 20 : 8);
    append_uint(out, 10, 8);
    append_uint(out, 0, sys_flag & 0x20 ? 20 : 8);
    append_uint(out, 0, 12);
    append_uint(out, body.len, 4);
    buf_append_str(out, body);
    append_uint(out, topic.len, v2 ? 2 : 1);
    buf_append_str(out, topic);
    append_uint(out, 0, 2);
    rocketmq_bytes_store_u32(out->data + start, (uint32_t)(out->len - start));
}

static void a_record_as_it_was_seen(void **state)
{
    struct rocketmq_message message;
    for (size_t len = 0; len < WIRE_LEN; len++) {
        assert_int_equal(read_copy(&message, wire, len), 0);
    }
    assert_int_equal(rocketmq_message_read(&message, str_make(wire, sizeof(wire))), WIRE_LEN);
    assert_int_equal(message.state, ROCKETMQ_MESSAGE_OK);
    assert_int_equal(message.queue_id, 0);
    assert_int_equal(message.queue_offset, 0);
    assert_int_equal(message.log_offset, 4195516);
    assert_int_equal(message.born_ms, 0x1a20831b3f6);
    assert_int_equal(message.stored_ms, 0x1a20831b3f9);
    assert_true(str_equal(message.body, STR("one")));
    assert_true(str_equal(message.topic, STR("pt2")));
    assert_true(str_equal(message.properties, STR(PROPERTIES)));
}

static void assert_record(uint32_t sys_flag, bool v2, struct str topic)
{
    struct buf out = {0};
    struct rocketmq_message message;
    append_record(&out, sys_flag, v2, topic);
    for (size_t len = 0; len < out.len; len++) {
        assert_int_equal(read_copy(&message, out.data, len), 0);
    }
    assert_int_equal(rocketmq_message_read(&message, buf_str(&out)), out.len);
    assert_int_equal(message.state, ROCKETMQ_MESSAGE_OK);
    assert_int_equal(message.queue_id, 5);
    assert_int_equal(message.flag, 6);
    assert_int_equal(message.queue_offset, 7);
    assert_int_equal(message.stored_ms, 10);
    assert_true(str_equal(message.body, STR("two")));
    assert_true(str_equal(message.topic, topic));
    buf_fini(&out);
}

static void hosts_may_be_ipv6_and_topics_long(void **state)
{
    char topic[300];
    memset(topic, 't', sizeof(topic));
    assert_record(0, false, STR("pt2"));
    assert_record(0x10, false, STR("pt2"));
    assert_record(0x20, false, str_make(topic, 255));
    assert_record(0x30, true, STR("pt2"));
    assert_record(0, true, str_make(topic, sizeof(topic)));
}

/* Sets bytes of the record and reads it: its size stays known, so the next one can be read. */
static enum rocketmq_message_state state_with(size_t at, const char *bytes, size_t len)
{
    uint8_t changed[WIRE_LEN];
    struct rocketmq_message message;
    memcpy(changed, wire, WIRE_LEN);
    memcpy(changed + at, bytes, len);
    assert_int_equal(read_copy(&message, changed, WIRE_LEN), WIRE_LEN);
    return message.state;
}

static void what_is_wrong_inside_a_record_costs_this_record_alone(void **state)
{
    assert_int_equal(state_with(AT_CRC, "\x7b", 1), ROCKETMQ_MESSAGE_CORRUPT);
    assert_int_equal(state_with(AT_BODY + 4, "O", 1), ROCKETMQ_MESSAGE_CORRUPT);
    assert_int_equal(state_with(AT_SYS_FLAG, "\0\0\3\1", 4), ROCKETMQ_MESSAGE_COMPRESSED);
    assert_int_equal(state_with(AT_SYS_FLAG, "\0\0\0\x80", 4), ROCKETMQ_MESSAGE_COMPRESSED);
    assert_int_equal(state_with(AT_SYS_FLAG, "\0\0\0\x10", 4), ROCKETMQ_MESSAGE_MALFORMED);
    assert_int_equal(state_with(AT_MAGIC, "\xcb\xd4\x31\x94", 4), ROCKETMQ_MESSAGE_MALFORMED);
    assert_int_equal(state_with(AT_MAGIC + 3, "\xab", 1), ROCKETMQ_MESSAGE_MALFORMED);
    assert_int_equal(state_with(AT_OFFSET, "\xff", 1), ROCKETMQ_MESSAGE_MALFORMED);
    assert_int_equal(state_with(AT_BODY, "\xff\xff\xff\xff", 4), ROCKETMQ_MESSAGE_MALFORMED);
    assert_int_equal(state_with(AT_BODY + 3, "\2", 1), ROCKETMQ_MESSAGE_MALFORMED);
    assert_int_equal(state_with(AT_BODY + 7, "\4", 1), ROCKETMQ_MESSAGE_MALFORMED);
}

static void a_size_that_cant_be_one_is_refused(void **state)
{
    struct rocketmq_message message;
    uint8_t changed[WIRE_LEN];
    memcpy(changed, wire, WIRE_LEN);
    changed[3] = 90;
    assert_int_equal(read_copy(&message, changed, WIRE_LEN), ERR_PROTOCOL);
    memset(changed, 0xff, 4);
    assert_int_equal(read_copy(&message, changed, WIRE_LEN), ERR_PROTOCOL);
    memset(changed, 0, 4);
    assert_int_equal(read_copy(&message, changed, 4), ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_as_it_was_seen),
        cmocka_unit_test(hosts_may_be_ipv6_and_topics_long),
        cmocka_unit_test(what_is_wrong_inside_a_record_costs_this_record_alone),
        cmocka_unit_test(a_size_that_cant_be_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
