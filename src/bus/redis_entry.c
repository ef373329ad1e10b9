#include "bus/redis_entry.h"

#include <inttypes.h>
#include <stdio.h>

const struct str redis_entry_field = {"r", 1};

bool redis_id_parse(struct redis_id *out_id, struct str text)
{
    struct str rest = text, ms, seq;
    struct redis_id id;
    if (!str_split(&rest, '-', &ms) || !str_split(&rest, '-', &seq) || rest.ptr ||
        !str_to_u64(ms, UINT64_MAX, &id.ms) || !str_to_u64(seq, UINT64_MAX, &id.seq)) {
        return false;
    }
    *out_id = id;
    return true;
}

const char *redis_id_format(struct redis_id id, char out[REDIS_ID_TEXT_MAX])
{
    snprintf(out, REDIS_ID_TEXT_MAX, "%" PRIu64 "-%" PRIu64, id.ms, id.seq);
    return out;
}

int redis_id_compare(struct redis_id a, struct redis_id b)
{
    if (a.ms != b.ms) {
        return a.ms < b.ms ? -1 : 1;
    }
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

bool redis_id_is_zero(struct redis_id id)
{
    return id.ms == 0 && id.seq == 0;
}

struct redis_id redis_id_before(struct redis_id id)
{
    if (id.seq > 0) {
        return (struct redis_id){id.ms, id.seq - 1};
    }
    return id.ms > 0 ? (struct redis_id){id.ms - 1, UINT64_MAX} : id;
}

bool redis_id_fits(struct redis_id id)
{
    return id.ms >> REDIS_ID_MS_BITS == 0 && id.seq >> REDIS_ID_SEQ_BITS == 0;
}

bool redis_id_is_end(struct redis_id id)
{
    return id.ms >= (1ull << REDIS_ID_MS_BITS) - 1;
}

struct bus_pos redis_id_pos(struct redis_id id)
{
    uint64_t max_ms = (1ull << REDIS_ID_MS_BITS) - 1, max_seq = (1ull << REDIS_ID_SEQ_BITS) - 1;
    if (id.ms > max_ms) {
        id = (struct redis_id){max_ms, max_seq};
    }
    uint64_t seq = id.seq < max_seq ? id.seq : max_seq;
    return (struct bus_pos){id.ms << REDIS_ID_SEQ_BITS | seq, 0};
}

bool redis_entry_read(struct redis_entry *out_entry, const struct redis_reply *reply)
{
    struct redis_entry entry = {0};
    if (!redis_id_parse(&entry.id, redis_reply_item(reply, 0)->text)) {
        return false;
    }
    const struct redis_reply *fields = redis_reply_item(reply, 1);
    const struct redis_reply *value = redis_reply_item(fields, 1);
    if (fields->count == 2 && value->type == REDIS_REPLY_IS_TEXT && value->text.len > 0 &&
        str_equal(redis_reply_item(fields, 0)->text, redis_entry_field) &&
        redis_id_fits(entry.id)) {
        entry.record = value->text;
        entry.is_record = true;
    }
    *out_entry = entry;
    return true;
}

static bool read_id(struct redis_id *out_id, const struct redis_reply *reply)
{
    *out_id = (struct redis_id){0, 0};
    return reply->type == REDIS_REPLY_IS_TEXT &&
           (reply->text.len == 0 || redis_id_parse(out_id, reply->text));
}

bool redis_facts_read(struct redis_facts *out_facts, const struct redis_reply *reply)
{
    struct redis_facts facts = {0};
    const struct redis_reply *added = redis_reply_item(reply, 4);
    int64_t length = redis_reply_item(reply, 5)->integer;
    bool ok = read_id(&facts.last, redis_reply_item(reply, 0)) &&
              read_id(&facts.first, redis_reply_item(reply, 1)) &&
              read_id(&facts.floor, redis_reply_item(reply, 2)) &&
              read_id(&facts.erased, redis_reply_item(reply, 3)) && length >= 0;
    if (added->type == REDIS_REPLY_IS_TEXT && added->text.len > 0) {
        ok = ok && str_to_u64(added->text, INT64_MAX, &facts.added) &&
             facts.added >= (uint64_t)length;
        facts.trimmed = facts.added - (uint64_t)length;
        facts.is_counted = true;
    }
    if (ok) {
        *out_facts = facts;
    }
    return ok;
}

/* Everything up to this id may be gone, some of it seen by somebody. */
static struct bus_pos behind(struct redis_id id)
{
    return bus_pos_behind(redis_id_pos(id).hi);
}

struct redis_id redis_facts_start(const struct redis_facts *facts, struct bus_pos *out_from)
{
    bool nothing_gone = facts->is_counted ? facts->trimmed == 0 : redis_id_is_zero(facts->last);
    struct redis_id start;
    if (!redis_id_is_zero(facts->floor)) {
        start = redis_id_before(facts->floor);
    } else if (nothing_gone) {
        *out_from = (struct bus_pos){0, 0};
        return (struct redis_id){0, 0};
    } else {
        start = redis_id_is_zero(facts->first) ? facts->last : redis_id_before(facts->first);
    }
    if (redis_id_compare(start, facts->erased) < 0) {
        start = facts->erased;
    }
    *out_from = behind(start);
    return start;
}

bool redis_facts_hole(const struct redis_facts *facts, struct redis_id read, int64_t index,
                      struct redis_id *out_resume)
{
    bool is_empty = redis_id_is_zero(facts->first);
    bool is_gone = is_empty || redis_id_compare(read, facts->first) < 0;
    bool has_more = redis_id_compare(read, facts->last) < 0;
    bool is_counted = facts->is_counted && index >= 0;
    if (!is_gone || !has_more || (is_counted && facts->trimmed <= (uint64_t)index)) {
        return false;
    }
    *out_resume = is_empty ? facts->last : redis_id_before(facts->first);
    return true;
}
