#include "base/metrics_cells.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/mem.h"
#include "base/metrics.h"

/* A thread's cells outlive it: the next thread goes on in the same array, so that no sum is ever
 * moved or freed while a scrape reads it. Threads without an array share one, by atomic addition.
 */
struct thread_cells {
    _Atomic(metrics_cell *) cells;
    bool in_use; /* under the lock */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thread_cells threads[METRICS_MAX_THREADS];
static atomic_uint threads_seen; /* so many have cells */
static metrics_cell shared_cells[METRICS_MAX_CELLS];
_Thread_local metrics_cell *metrics_own_cells;
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;
static bool exit_key_made;

static void leave(void *arg)
{
    struct thread_cells *thread = arg;
    metrics_own_cells = NULL;
    pthread_mutex_lock(&lock);
    thread->in_use = false;
    pthread_mutex_unlock(&lock);
}

static void make_exit_key(void)
{
    exit_key_made = pthread_key_create(&exit_key, leave) == 0;
}

/* A free array, or a new one; NULL when there is no place or no memory. Under the lock. */
static struct thread_cells *find_cells(void)
{
    for (unsigned i = 0; i < METRICS_MAX_THREADS; i++) {
        struct thread_cells *thread = &threads[i];
        if (thread->in_use) {
            continue;
        }
        if (i == atomic_load(&threads_seen)) {
            metrics_cell *cells = mem_pages_alloc(METRICS_MAX_CELLS * sizeof(metrics_cell));
            if (!cells) {
                return NULL;
            }
            atomic_store(&thread->cells, cells);
            atomic_store(&threads_seen, i + 1);
        }
        return thread;
    }
    return NULL;
}

static metrics_cell *enter(void)
{
    pthread_once(&exit_key_once, make_exit_key);
    if (!exit_key_made) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    struct thread_cells *thread = find_cells();
    if (thread && pthread_setspecific(exit_key, thread) == 0) {
        thread->in_use = true;
        metrics_own_cells = atomic_load(&thread->cells);
    }
    pthread_mutex_unlock(&lock);
    return metrics_own_cells;
}

void metrics_cells_add_slowly(uint32_t at, int64_t delta)
{
    metrics_cell *cells = enter();
    atomic_fetch_add_explicit(cells ? &cells[at] : &shared_cells[at], delta, memory_order_relaxed);
}

void metrics_cells_add_real_slowly(uint32_t at, double delta)
{
    if (enter()) {
        metrics_cells_add_real(at, delta);
        return;
    }
    metrics_cell *cell = &shared_cells[at];
    int64_t bits = atomic_load_explicit(cell, memory_order_relaxed);
    int64_t sum;
    do {
        sum = metrics_cells_of_real(metrics_cells_to_real(bits) + delta);
    } while (!atomic_compare_exchange_weak_explicit(cell, &bits, sum, memory_order_relaxed,
                                                    memory_order_relaxed));
}

int64_t metrics_cells_sum(uint32_t at)
{
    int64_t sum = atomic_load_explicit(&shared_cells[at], memory_order_relaxed);
    unsigned seen = atomic_load(&threads_seen);
    for (unsigned i = 0; i < seen; i++) {
        metrics_cell *cells = atomic_load_explicit(&threads[i].cells, memory_order_relaxed);
        sum += atomic_load_explicit(&cells[at], memory_order_relaxed);
    }
    return sum;
}

double metrics_cells_sum_real(uint32_t at)
{
    double sum = metrics_cells_to_real(
        atomic_load_explicit(&shared_cells[at], memory_order_relaxed));
    unsigned seen = atomic_load(&threads_seen);
    for (unsigned i = 0; i < seen; i++) {
        metrics_cell *cells = atomic_load_explicit(&threads[i].cells, memory_order_relaxed);
        sum += metrics_cells_to_real(atomic_load_explicit(&cells[at], memory_order_relaxed));
    }
    return sum;
}
