/* While the cluster's secrets are being rotated, events arrive whose keys were made with the other
 * one: the names in them tell what the keys are here. */
#include <string.h>

#include "base/err.h"
#include "core/event.h"

uint64_t event_id_hash(const struct target_space *space, uint32_t app_hash, struct str id)
{
    struct siphash_key key = {space->keys.k0 ^ app_hash, space->keys.k1 + id.len};
    return siphash(&key, id.ptr, id.len);
}

static void put(uint8_t *place, uint64_t value)
{
    memcpy(place, &value, sizeof(value));
}

static void put_keys(uint8_t *copy, const struct event *event, const uint8_t *start,
                     const struct target_space *space)
{
    struct str rest = event->target_bytes;
    struct target target;
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        size_t at = i == 0 ? offsetof(struct event_header, key)
                           : (size_t)(event->keys - start) + 8 * (i - 1);
        put(copy + at, target_key(space, event->header.app, target.kind, target.name));
    }
}

/* Behind the header come the hashes of the id and of the body, and behind the keys three bytes and
 * then the tag. */
int event_rekey(struct buf *out, const struct event *event, struct str encoded,
                const struct target_space *space)
{
    size_t start = out->len;
    if (buf_append_str(out, encoded)) {
        return ERR_NO_MEMORY;
    }
    uint8_t *copy = out->data + start;
    const uint8_t *from = (const uint8_t *)encoded.ptr;
    put_keys(copy, event, from, space);
    if (event->header.flags & EVENT_HAS_ID) {
        put(copy + EVENT_HEADER_LEN, event_id_hash(space, event->header.app, event->id));
    }
    size_t body = (size_t)(event->keys - from) + 8 * ((size_t)event->header.target_count - 1);
    copy[body + 3] = (uint8_t)((copy[body + 3] & 3) | space->tag << 2);
    return 0;
}
