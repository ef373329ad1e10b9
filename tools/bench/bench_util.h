/* What the load generator and the floors share: the clock, giving up, sockets, numbers as text. */
#ifndef TIDEGATE_BENCH_UTIL_H
#define TIDEGATE_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);

/* Prints "bench: ..." to stderr and exits with 2: a measurement that went wrong has no figures. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory is never short in a benchmark: these die instead of returning NULL. */
void *bench_zalloc(size_t count, size_t size);
void *bench_copy(const void *data, size_t len);

/* Writes value in decimal without a NUL; returns the digits written (at most 20). */
size_t bench_put_u64(char *out, uint64_t value);

/* Reads decimal digits up to end; returns the byte behind the last one. */
const char *bench_get_u64(const char *at, const char *end, uint64_t *out_value);

/* Raises the soft limit of descriptors to the hard one. */
void bench_raise_descriptors(void);

/* TCP_NODELAY; a failure is no reason to stop. */
void bench_set_nodelay(int fd);

/* Ports on 127.0.0.1, of as many nodes. */
enum { BENCH_NODES_MAX = 8 };

struct bench_ports {
    uint16_t numbers[BENCH_NODES_MAX];
    unsigned count;
};

/* Dies when there is no room. */
void bench_ports_add(struct bench_ports *ports, const char *text);
uint16_t bench_ports_turn(const struct bench_ports *ports, uint32_t index);

#endif
