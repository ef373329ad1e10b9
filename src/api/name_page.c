#include "api/name_page.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

void name_page_init(struct name_page *page, uint32_t max, struct str prefix, struct str after)
{
    *page = (struct name_page){.max = max, .prefix = prefix, .after = after};
    page->items = mem_zalloc(max * sizeof(*page->items));
    page->err = page->items ? 0 : ERR_NO_MEMORY;
}

static void free_name(struct name_page_item *item)
{
    mem_account(MEM_HTTP, -(int64_t)item->name.len);
    mem_free((char *)item->name.ptr);
}

void name_page_fini(struct name_page *page)
{
    for (uint32_t i = 0; i < page->count; i++) {
        free_name(&page->items[i]);
    }
    mem_free(page->items);
    *page = (struct name_page){0};
}

static bool is_above(const struct name_page_item *a, const struct name_page_item *b)
{
    return str_compare(a->name, b->name) > 0;
}

static void swap(struct name_page_item *a, struct name_page_item *b)
{
    struct name_page_item held = *a;
    *a = *b;
    *b = held;
}

static void sift_up(struct name_page *page, uint32_t at)
{
    while (at > 0 && is_above(&page->items[at], &page->items[(at - 1) / 2])) {
        swap(&page->items[at], &page->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct name_page *page, uint32_t at)
{
    for (;;) {
        uint32_t largest = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < page->count; child++) {
            largest = is_above(&page->items[child], &page->items[largest]) ? child : largest;
        }
        if (largest == at) {
            return;
        }
        swap(&page->items[at], &page->items[largest]);
        at = largest;
    }
}

bool name_page_wants(struct name_page *page, struct str name)
{
    if (page->err || (page->after.len && str_compare(name, page->after) <= 0) ||
        !str_starts_with(name, page->prefix)) {
        return false;
    }
    bool is_behind = page->count == page->max && str_compare(name, page->items[0].name) > 0;
    page->has_more = page->has_more || is_behind;
    return !is_behind;
}

void name_page_add(struct name_page *page, struct str name, uint64_t count, uint64_t time_ms)
{
    if (!name_page_wants(page, name)) {
        return;
    }
    char *copy = mem_strndup(name.ptr, name.len);
    if (!copy) {
        page->err = ERR_NO_MEMORY;
        return;
    }
    struct name_page_item item = {str_make(copy, name.len), count, time_ms};
    mem_account(MEM_HTTP, (int64_t)name.len);
    if (page->count < page->max) {
        page->items[page->count] = item;
        sift_up(page, page->count++);
        return;
    }
    page->has_more = page->has_more || !str_equal(name, page->items[0].name);
    free_name(&page->items[0]);
    page->items[0] = item;
    sift_down(page, 0);
}

static int compare(const void *a, const void *b)
{
    const struct name_page_item *left = a;
    const struct name_page_item *right = b;
    return str_compare(left->name, right->name);
}

void name_page_sort(struct name_page *page, bool adds_up)
{
    uint32_t kept = 0;
    if (page->count) {
        qsort(page->items, page->count, sizeof(*page->items), compare);
    }
    for (uint32_t i = 0; i < page->count; i++) {
        struct name_page_item *last = kept ? &page->items[kept - 1] : NULL;
        if (last && str_equal(last->name, page->items[i].name)) {
            last->count += adds_up ? page->items[i].count : 0;
            free_name(&page->items[i]);
        } else {
            page->items[kept++] = page->items[i];
        }
    }
    page->count = kept;
}

void name_page_cut(struct name_page *page, uint32_t count)
{
    while (page->count > count) {
        free_name(&page->items[--page->count]);
        page->has_more = true;
    }
}
