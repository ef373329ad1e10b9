/* What came before: events by their sender's counter, pushes by the id that their caller chose. */
#include "base/mem.h"
#include "core/hub_private.h"

/* A push that carried an id, while the window keeps it. */
struct hub_id {
    uint64_t body_hash;
    uint32_t part_count; /* seen so far */
    uint32_t part_cap;
    struct hub_id_part {
        uint32_t queue;
        struct bus_pos pos;
    } parts[];
};

/* False for an event whose (origin, queue, counter) was seen: a record that was published twice. A
 * counter compares as a serial number (RFC 1982), so it may wrap. */
bool hub_event_is_new(struct hub *hub, uint32_t queue, const struct event_header *header)
{
    uint32_t name[2] = {header->origin, queue};
    uint64_t *mark = u64map_put(&hub->marks, siphash(&hub->options.sid_key, name, sizeof(name)));
    if (!mark) {
        return true;
    }
    bool known = *mark != 0;
    uint32_t last = (uint32_t)(*mark - 1);
    if (known && (int32_t)(header->counter - last) <= 0) {
        return false;
    }
    *mark = (uint64_t)header->counter + 1;
    return true;
}

static int64_t size_of(uint32_t part_cap)
{
    return (int64_t)(sizeof(struct hub_id) + sizeof(struct hub_id_part) * part_cap);
}

static struct hub_id *id_create(const struct event *event)
{
    struct hub_id *id = mem_zalloc((size_t)size_of(event->parts));
    if (id) {
        id->body_hash = event->body_hash;
        id->part_cap = event->parts;
        mem_account(MEM_WINDOW, size_of(id->part_cap));
    }
    return id;
}

static void id_destroy(struct hub_id *id)
{
    if (id) {
        mem_account(MEM_WINDOW, -size_of(id->part_cap));
        mem_free(id);
    }
}

static void id_add_part(struct hub_id *id, uint32_t queue, struct bus_pos pos)
{
    if (id->part_count < id->part_cap) {
        id->parts[id->part_count++] = (struct hub_id_part){queue, pos};
    }
}

static const struct bus_pos *find_part(const struct hub_id *id, uint32_t queue)
{
    for (uint32_t i = 0; i < id->part_count; i++) {
        if (id->parts[i].queue == queue) {
            return &id->parts[i].pos;
        }
    }
    return NULL;
}

/* NULL when memory is out: then nobody remembers the id, and a repeat would pass. */
static struct hub_id *find_or_add(struct hub *hub, const struct event *event)
{
    uint64_t *place = u64map_put(&hub->ids, event->id_hash);
    if (place && !*place) {
        *place = (uint64_t)(uintptr_t)id_create(event);
        if (!*place) {
            u64map_remove(&hub->ids, event->id_hash);
            return NULL;
        }
    }
    return place ? (struct hub_id *)(uintptr_t)*place : NULL;
}

/* The first push of an id in queue order wins: same body, a repeat; another body, a conflict. The
 * first one's position goes into the repeat's answer. */
enum publish_verdict hub_judge_id(struct hub *hub, const struct event *event, uint32_t queue,
                                  struct bus_pos pos, struct publish_part *own)
{
    struct hub_id *id = find_or_add(hub, event);
    if (!id) {
        return PUBLISH_ACCEPTED;
    }
    if (id->body_hash != event->body_hash) {
        return PUBLISH_CONFLICT;
    }
    const struct bus_pos *first = find_part(id, queue);
    if (!first) {
        id_add_part(id, queue, pos);
        return PUBLISH_ACCEPTED;
    }
    if (own) {
        own->pos = *first;
    }
    return PUBLISH_REPLAYED;
}

/* The event may be another than the one whose part is known: then memory was out at its time. */
static void id_remove_part(struct hub_id *id, uint32_t queue, struct bus_pos pos)
{
    for (uint32_t i = 0; i < id->part_count; i++) {
        if (id->parts[i].queue == queue && bus_pos_compare(id->parts[i].pos, pos) == 0) {
            id->parts[i] = id->parts[--id->part_count];
            return;
        }
    }
}

/* The event at pos is gone; the id is known as long as one of its parts is here. */
void hub_forget_id(struct hub *hub, const struct event *event, uint32_t queue, struct bus_pos pos)
{
    uint64_t *place = event->header.flags & EVENT_HAS_ID ? u64map_find(&hub->ids, event->id_hash)
                                                         : NULL;
    struct hub_id *id = place ? (struct hub_id *)(uintptr_t)*place : NULL;
    if (!id) {
        return;
    }
    id_remove_part(id, queue, pos);
    if (id->part_count == 0) {
        id_destroy(id);
        u64map_remove(&hub->ids, event->id_hash);
        u64map_shrink(&hub->ids);
    }
}

void hub_forget_ids(struct hub *hub)
{
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&hub->ids, &at); entry;
         entry = u64map_next(&hub->ids, &at)) {
        id_destroy((struct hub_id *)(uintptr_t)entry->value);
    }
    u64map_fini(&hub->ids);
}
