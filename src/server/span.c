#include "server/span.h"

#include <sys/random.h>

#include "base/mem.h"

static void add(struct span *span, struct span_attribute attribute)
{
    if (span->attribute_count < SPAN_ATTRIBUTES) {
        span->attributes[span->attribute_count++] = attribute;
    }
}

void span_add_text(struct span *span, const char *key, struct str text)
{
    add(span, (struct span_attribute){.key = key, .text = text.ptr ? text : STR("")});
}

void span_add_number(struct span *span, const char *key, int64_t number)
{
    add(span, (struct span_attribute){.key = key, .number = number});
}

static size_t text_bytes(const struct span *span)
{
    size_t bytes = span->state.len;
    for (uint32_t i = 0; i < span->attribute_count; i++) {
        bytes += span->attributes[i].text.len;
    }
    return bytes;
}

static void move_text(struct str *text, char **at)
{
    if (text->ptr && text->len > 0) {
        memcpy(*at, text->ptr, text->len);
        text->ptr = *at;
        *at += text->len;
    }
}

struct span *span_copy(const struct span *span)
{
    size_t size = sizeof(*span) + text_bytes(span);
    struct span *copy = mem_alloc(size);
    if (!copy) {
        return NULL;
    }
    *copy = *span;
    copy->size = size;
    char *at = (char *)(copy + 1);
    move_text(&copy->state, &at);
    for (uint32_t i = 0; i < copy->attribute_count; i++) {
        move_text(&copy->attributes[i].text, &at);
    }
    return copy;
}

/* splitmix64 from a seed of the system's: ids must differ, nobody need fail to guess them. */
uint64_t span_draw_id(void)
{
    static _Thread_local uint64_t state;
    if (state == 0) {
        (void)!getrandom(&state, sizeof(state), 0);
    }
    uint64_t id = state += 0x9e3779b97f4a7c15u;
    id = (id ^ (id >> 30)) * 0xbf58476d1ce4e5b9u;
    id = (id ^ (id >> 27)) * 0x94d049bb133111ebu;
    id ^= id >> 31;
    return id ? id : 1;
}
