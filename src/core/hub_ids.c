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
        uint8_t part; /* its number in the push: the same in a repeat, wherever that went */
        struct bus_pos pos;
    } parts[];
};

enum { MARKS_SWEPT_MS = 60 * 1000, MARKS_KEPT = 2 /* windows */ };

static uint64_t now_s(const struct hub *hub)
{
    return hub->now_ms / 1000 + 1; /* never 0, which is an empty place */
}

/* A record's events have one origin, so the last key is mostly the next one's too. */
static uint64_t mark_key(struct hub *hub, uint32_t queue, uint32_t origin)
{
    struct hub_mark_name name = {origin, queue, hub->queues[queue].history};
    if (memcmp(&name, &hub->mark_name, sizeof(name)) != 0 || !hub->mark_key) {
        hub->mark_name = name;
        hub->mark_key = siphash(&hub->options.sid_key, &name, sizeof(name));
    }
    return hub->mark_key;
}

/* False for an event whose (origin, queue, counter) was seen: a record that was published twice. A
 * counter compares as a serial number (RFC 1982), so it may wrap. */
bool hub_event_is_new(struct hub *hub, uint32_t queue, const struct event_header *header)
{
    uint64_t *mark = u64map_put(&hub->marks, mark_key(hub, queue, header->origin));
    if (!mark) {
        return true;
    }
    bool known = *mark != 0;
    bool is_new = !known || (int32_t)(header->counter - (uint32_t)*mark) > 0;
    *mark = now_s(hub) << 32 | (is_new ? header->counter : (uint32_t)*mark);
    return is_new;
}

static bool is_outdated(const struct hub *hub, uint64_t mark)
{
    uint64_t kept_s = MARKS_KEPT * hub->options.window_age_ms / 1000 + MARKS_SWEPT_MS / 1000;
    return (uint32_t)(now_s(hub) - (mark >> 32)) > kept_s;
}

/* Each run of a node has marks of its own: those of runs that are long over go. */
void hub_sweep_marks(struct hub *hub)
{
    if (hub->now_ms - hub->marks_swept_ms < MARKS_SWEPT_MS || !hub->options.window_age_ms) {
        return;
    }
    hub->marks_swept_ms = hub->now_ms;
    struct u64map kept = {0};
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&hub->marks, &at); entry;
         entry = u64map_next(&hub->marks, &at)) {
        uint64_t *place = is_outdated(hub, entry->value) ? NULL : u64map_put(&kept, entry->key);
        if (place) {
            *place = entry->value;
        } else if (!is_outdated(hub, entry->value)) {
            u64map_fini(&kept); /* memory is out: next time */
            return;
        }
    }
    u64map_fini(&hub->marks);
    hub->marks = kept;
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

static void id_add_part(struct hub_id *id, uint32_t queue, uint8_t part, struct bus_pos pos)
{
    if (id->part_count < id->part_cap) {
        id->parts[id->part_count++] = (struct hub_id_part){queue, part, pos};
    }
}

static const struct hub_id_part *find_part(const struct hub_id *id, uint8_t part)
{
    for (uint32_t i = 0; i < id->part_count; i++) {
        if (id->parts[i].part == part) {
            return &id->parts[i];
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
static enum publish_verdict judge(struct hub *hub, const struct event *event, uint32_t queue,
                                  struct bus_pos pos, struct publish_part *own)
{
    struct hub_id *id = find_or_add(hub, event);
    if (!id) {
        return PUBLISH_ACCEPTED;
    }
    if (id->body_hash != event->body_hash) {
        return PUBLISH_CONFLICT;
    }
    const struct hub_id_part *first = find_part(id, event->part);
    if (!first) {
        id_add_part(id, queue, event->part, pos);
        return PUBLISH_ACCEPTED;
    }
    if (own) {
        own->pos = first->pos;
        own->queue = first->queue;
    }
    return PUBLISH_REPLAYED;
}

enum publish_verdict hub_judge_id(struct hub *hub, const struct event *event, uint32_t queue,
                                  struct bus_pos pos, struct publish_part *own)
{
    pthread_mutex_lock(&hub->ids_lock);
    enum publish_verdict verdict = judge(hub, event, queue, pos, own);
    pthread_mutex_unlock(&hub->ids_lock);
    return verdict;
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

static struct hub_id *find_id(const struct hub *hub, uint64_t id_hash)
{
    uint64_t *place = u64map_find(&hub->ids, id_hash);
    return place ? (struct hub_id *)(uintptr_t)*place : NULL;
}

static void forget_part(struct hub *hub, const struct event *event, uint32_t queue,
                        struct bus_pos pos)
{
    struct hub_id *id = find_id(hub, event->id_hash);
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

/* The event at pos is gone; the id is known as long as one of its parts is here. */
void hub_forget_id(struct hub *hub, const struct event *event, uint32_t queue, struct bus_pos pos)
{
    if (event->header.flags & EVENT_HAS_ID) {
        pthread_mutex_lock(&hub->ids_lock);
        forget_part(hub, event, queue, pos);
        pthread_mutex_unlock(&hub->ids_lock);
    }
}

static size_t copy_parts(struct hub *hub, uint64_t id_hash, struct hub_id_part out[EVENT_MAX_PARTS])
{
    pthread_mutex_lock(&hub->ids_lock);
    const struct hub_id *id = find_id(hub, id_hash);
    size_t count = id ? id->part_count : 0;
    if (count > 0) {
        memcpy(out, id->parts, sizeof(out[0]) * count);
    }
    pthread_mutex_unlock(&hub->ids_lock);
    return count;
}

size_t hub_find_messages(struct hub *hub, uint32_t app_hash, struct str id,
                         struct message *out[EVENT_MAX_PARTS])
{
    struct hub_id_part parts[EVENT_MAX_PARTS];
    size_t count = copy_parts(hub, event_id_hash(&hub->options.space, app_hash, id), parts);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        struct message *message = window_find_at(hub->window, parts[i].queue, parts[i].pos);
        if (message && message->event.header.app == app_hash && str_equal(message->event.id, id)) {
            out[found++] = message;
        } else {
            message_unref(message);
        }
    }
    return found;
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
