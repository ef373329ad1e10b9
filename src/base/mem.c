#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Thread_local unsigned long fail_countdown;
static _Atomic int64_t accounted[MEM_OWNERS];

static const char *const owner_names[MEM_OWNERS] = {
    [MEM_SESSIONS] = "sessions", [MEM_TABLES] = "tables", [MEM_WINDOW] = "window",
    [MEM_QUEUES] = "queues",     [MEM_HTTP] = "http",     [MEM_TLS] = "tls",
    [MEM_BUS] = "bus",           [MEM_KEPT] = "kept",
};

static int fails_now(void)
{
    return __builtin_expect(fail_countdown != 0, 0) && --fail_countdown == 0;
}

void *mem_alloc(size_t size)
{
    return fails_now() ? NULL : malloc(size);
}

void *mem_zalloc(size_t size)
{
    return fails_now() ? NULL : calloc(1, size);
}

void *mem_realloc(void *ptr, size_t size)
{
    return fails_now() ? NULL : realloc(ptr, size);
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (copy) {
        if (len > 0) {
            memcpy(copy, text, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

void mem_free(void *ptr)
{
    free(ptr);
}

void *mem_pages_alloc(size_t size)
{
    if (fails_now()) {
        return NULL;
    }
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void mem_pages_free(void *ptr, size_t size)
{
    if (ptr) {
        munmap(ptr, size);
    }
}

void mem_fail_nth(unsigned long n)
{
    fail_countdown = n;
}

int mem_fail_pending(void)
{
    return fail_countdown != 0;
}

void mem_account(enum mem_owner owner, int64_t delta_bytes)
{
    atomic_fetch_add_explicit(&accounted[owner], delta_bytes, memory_order_relaxed);
}

int64_t mem_accounted(enum mem_owner owner)
{
    return atomic_load_explicit(&accounted[owner], memory_order_relaxed);
}

int64_t mem_accounted_total(void)
{
    int64_t total = 0;
    for (int owner = 0; owner < MEM_OWNERS; owner++) {
        total += mem_accounted((enum mem_owner)owner);
    }
    return total;
}

const char *mem_owner_name(enum mem_owner owner)
{
    return owner_names[owner];
}
