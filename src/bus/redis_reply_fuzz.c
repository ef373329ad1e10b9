/* Any bytes as a server's answers, in pieces whose length the first byte says: each tree can be
 * walked, and read as an entry and as the survey's facts. */
#include "bus/redis_reply.h"

#include <stdlib.h>

#include "base/err.h"
#include "bus/redis_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 64 * 1024 };

static void check_entry(const struct redis_reply *reply)
{
    struct redis_entry entry;
    if (redis_entry_read(&entry, reply)) {
        ASSERT(!entry.is_record || (entry.record.len > 0 && redis_id_fits(entry.id)));
        ASSERT(redis_id_pos(entry.id).hi <= INT64_MAX);
        ASSERT(redis_id_compare(redis_id_before(entry.id), entry.id) <= 0);
    }
}

static void check_facts(const struct redis_reply *reply)
{
    struct redis_facts facts;
    struct redis_id resume;
    struct bus_pos from;
    if (redis_facts_read(&facts, reply)) {
        struct redis_id start = redis_facts_start(&facts, &from);
        ASSERT(redis_id_pos(start).hi == from.hi);
        if (redis_facts_hole(&facts, start, (int64_t)(facts.added / 2), &resume)) {
            ASSERT(redis_id_compare(resume, start) >= 0);
        }
    }
}

static void walk(const struct redis_reply *reply, int depth)
{
    ASSERT(depth < 16);
    check_entry(reply);
    check_facts(reply);
    for (size_t i = 0; i < reply->text.len; i++) {
        ASSERT(reply->text.ptr[i] == reply->text.ptr[i]);
    }
    for (size_t i = 0; i < reply->count; i++) {
        walk(&reply->items[i], depth + 1);
    }
}

static int read_all(struct redis_reader *reader)
{
    const struct redis_reply *reply;
    int err = redis_reader_next(reader, &reply);
    while (!err && reply) {
        walk(reply, 0);
        err = redis_reader_next(reader, &reply);
    }
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_reader *reader;
    size_t piece = size ? 1 + data[0] : 1;
    ASSERT(redis_reader_create(&reader, MAX_BYTES) == 0);
    int err = 0;
    for (size_t at = 1; at < size && !err; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        err = redis_reader_feed(reader, str_make(data + at, len));
        err = err ? err : read_all(reader);
    }
    redis_reader_destroy(reader);
    return 0;
}
