/* The numbers behind metrics.h: every thread adds to an array of its own, a sum goes over all of
 * them. At most METRICS_MAX_THREADS arrays exist at a time; threads beyond share one by atomic
 * addition. Part of metrics.c; use metrics.h. */
#ifndef TIDEGATE_BASE_METRICS_CELLS_H
#define TIDEGATE_BASE_METRICS_CELLS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef _Atomic int64_t metrics_cell;

/* This thread's array; NULL until its first addition, and while it has to share. */
extern _Thread_local metrics_cell *metrics_own_cells;

static inline double metrics_cells_to_real(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline int64_t metrics_cells_of_real(double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

void metrics_cells_add_slowly(uint32_t at, int64_t delta);

/* at is under METRICS_MAX_CELLS. */
static inline void metrics_cells_add(uint32_t at, int64_t delta)
{
    metrics_cell *cells = metrics_own_cells;
    if (__builtin_expect(cells == NULL, 0)) {
        metrics_cells_add_slowly(at, delta);
        return;
    }
    /* Nobody else writes here, so a load and a store do, without the price of a locked add. */
    int64_t sum = atomic_load_explicit(&cells[at], memory_order_relaxed);
    atomic_store_explicit(&cells[at], sum + delta, memory_order_relaxed);
}

void metrics_cells_add_real_slowly(uint32_t at, double delta);

/* A cell that holds the bits of a double; 0 is 0.0. */
static inline void metrics_cells_add_real(uint32_t at, double delta)
{
    metrics_cell *cells = metrics_own_cells;
    if (__builtin_expect(cells == NULL, 0)) {
        metrics_cells_add_real_slowly(at, delta);
        return;
    }
    double sum = metrics_cells_to_real(atomic_load_explicit(&cells[at], memory_order_relaxed));
    atomic_store_explicit(&cells[at], metrics_cells_of_real(sum + delta), memory_order_relaxed);
}

/* Over all threads, those that ended too. Any thread. */
int64_t metrics_cells_sum(uint32_t at);
double metrics_cells_sum_real(uint32_t at);

#endif
