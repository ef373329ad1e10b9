/* The allocator behind every module: libc's, with a count by owner and failures on demand for
 * tests. */
#ifndef TIDEGATE_BASE_MEM_H
#define TIDEGATE_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* All return NULL when memory is out. Free with mem_free (NULL is fine). */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *ptr, size_t size);
char *mem_strndup(const char *text, size_t len); /* adds the terminating NUL */
void mem_free(void *ptr);

/* Page-wise memory for slabs and rings: zeroed, given back to the system when freed. */
void *mem_pages_alloc(size_t size);
void mem_pages_free(void *ptr, size_t size);

/* Tests only: the n-th allocation of this thread from now (1 is the next) fails, once. 0 turns it
 * off. mem_fail_pending tells whether the failure is still to come. */
void mem_fail_nth(unsigned long n);
int mem_fail_pending(void);

/* Who holds how much, for the metric tidegate_memory_bytes{owner}. Any thread. */
enum mem_owner {
    MEM_SESSIONS,
    MEM_TABLES, /* users, groups, interest */
    MEM_WINDOW,
    MEM_QUEUES, /* what slow sessions have not taken yet */
    MEM_HTTP,
    MEM_TLS,
    MEM_BUS,
    MEM_KEPT, /* what outlives the window */
    MEM_OWNERS,
};

void mem_account(enum mem_owner owner, int64_t delta_bytes);
int64_t mem_accounted(enum mem_owner owner);
int64_t mem_accounted_total(void);
const char *mem_owner_name(enum mem_owner owner);

#endif
