/* Records of a pull answer end where they say, cut or whole, and their parts lie inside of them. */
#include "proto/rocketmq_message.h"

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_inside(struct str part, struct str record)
{
    ASSERT(part.len == 0 ||
           (part.ptr >= record.ptr && part.ptr + part.len <= record.ptr + record.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make(data, size);
    struct rocketmq_message message;
    ssize_t used;
    while ((used = rocketmq_message_read(&message, rest)) > 0) {
        struct str record = str_make(rest.ptr, (size_t)used);
        ASSERT(record.len <= rest.len);
        assert_inside(message.body, record);
        assert_inside(message.topic, record);
        assert_inside(message.properties, record);
        ASSERT(rocketmq_message_read(&message, str_make(rest.ptr, record.len - 1)) == 0);
        rest = str_make(rest.ptr + used, rest.len - record.len);
    }
    return 0;
}
