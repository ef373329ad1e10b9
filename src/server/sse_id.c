#include "server/sse_id.h"

#include "proto/base64.h"

enum { VERSION = 1, NUMBER_MAX = 10, RAW_MAX = SSE_ID_MAX / 4 * 3 };

_Static_assert(2 + HUB_EPOCH_MAX + NUMBER_MAX + BUS_MAX_QUEUES * (1 + 2 * NUMBER_MAX) <= RAW_MAX,
               "the longest id fits");

struct writer {
    uint8_t bytes[RAW_MAX];
    size_t len;
};

static void put_number(struct writer *writer, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        writer->bytes[writer->len++] = (uint8_t)(value | 0x80);
    }
    writer->bytes[writer->len++] = (uint8_t)value;
}

static uint64_t highest_of(const struct hub_heads *heads)
{
    uint64_t highest = 0;
    for (uint32_t q = 0; q < BUS_MAX_QUEUES; q++) {
        bool counts = heads->started >> q & 1 && heads->pos[q].hi > highest;
        highest = counts ? heads->pos[q].hi : highest;
    }
    return highest;
}

/* lo plus one: positions behind a whole record have the highest lo of all, which becomes 0. */
static void put_pos(struct writer *writer, struct bus_pos pos, uint64_t highest)
{
    if (pos.hi == 0 && pos.lo == 0) {
        put_number(writer, 0);
        return;
    }
    uint64_t below = highest - pos.hi;
    put_number(writer, below == UINT64_MAX ? 0 : below + 1);
    put_number(writer, pos.lo + 1);
}

size_t sse_id_write(char out[SSE_ID_MAX], struct str epoch, const struct hub_heads *heads)
{
    struct writer writer = {.bytes = {VERSION, (uint8_t)epoch.len}, .len = 2};
    if (epoch.len > 0) {
        memcpy(writer.bytes + 2, epoch.ptr, epoch.len);
        writer.len += epoch.len;
    }
    uint64_t highest = highest_of(heads);
    put_number(&writer, highest);
    for (uint32_t q = 0, skipped = 0; q < BUS_MAX_QUEUES; q++) {
        if (!(heads->started >> q & 1)) {
            skipped++;
            continue;
        }
        put_number(&writer, skipped);
        put_pos(&writer, heads->pos[q], highest);
        skipped = 0;
    }
    return base64_encode(out, writer.bytes, writer.len, BASE64_URL);
}

struct reader {
    const uint8_t *bytes;
    size_t len;
    size_t at;
    bool is_bad;
};

static uint64_t take_number(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; reader->at < reader->len && shift < 64; shift += 7) {
        uint8_t byte = reader->bytes[reader->at++];
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    reader->is_bad = true;
    return 0;
}

static struct bus_pos take_pos(struct reader *reader, uint64_t highest)
{
    uint64_t below = take_number(reader);
    if (below == 0) {
        return (struct bus_pos){0, 0};
    }
    reader->is_bad = reader->is_bad || below - 1 > highest;
    return (struct bus_pos){highest - (below - 1), take_number(reader) - 1};
}

static void take_epoch(struct reader *reader, struct session_resume *resume)
{
    size_t len = reader->len >= 2 ? reader->bytes[1] : 0;
    if (reader->len < 2 || reader->bytes[0] != VERSION || len > HUB_EPOCH_MAX ||
        len > reader->len - 2 || memchr(reader->bytes + 2, '\0', len)) {
        reader->is_bad = true;
        return;
    }
    memcpy(resume->epoch, reader->bytes + 2, len);
    reader->at = 2 + len;
}

static void take_queues(struct reader *reader, struct session_resume *resume, uint32_t queues)
{
    uint64_t highest = take_number(reader);
    for (uint64_t next = 0; reader->at < reader->len && !reader->is_bad; next++) {
        uint64_t skipped = take_number(reader);
        if (skipped >= BUS_MAX_QUEUES || next + skipped >= BUS_MAX_QUEUES) {
            reader->is_bad = true;
            return;
        }
        next += skipped;
        resume->seen.pos[next] = take_pos(reader, highest);
        resume->has[next] = next < queues;
    }
}

bool sse_id_read(struct session_resume *out_resume, struct str text, uint32_t queues)
{
    uint8_t bytes[RAW_MAX];
    struct reader reader = {.bytes = bytes};
    *out_resume = (struct session_resume){0};
    if (base64_decode(bytes, sizeof(bytes), &reader.len, text, BASE64_URL)) {
        return false;
    }
    take_epoch(&reader, out_resume);
    if (!reader.is_bad) {
        take_queues(&reader, out_resume, queues);
    }
    return !reader.is_bad;
}
