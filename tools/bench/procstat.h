/* What a server process costs at one moment: CPU of all its threads to the nanosecond, its memory,
 * and what the kernel holds for sockets. Two snapshots subtracted give the price of what lies
 * between. */
#ifndef TIDEGATE_BENCH_PROCSTAT_H
#define TIDEGATE_BENCH_PROCSTAT_H

#include <stdint.h>
#include <sys/types.h>

struct procstat {
    uint64_t wall_ns;
    uint64_t cpu_ns;     /* the server's user and system time */
    uint64_t own_cpu_ns; /* ours */
    /* Bytes; 0 unless procstat_take_memory filled them. */
    uint64_t rss;
    uint64_t pss;
    uint64_t slab;    /* of the whole machine: both ends of every connection */
    uint64_t tcp_mem; /* likewise, socket buffers */
};

enum { PROCSTAT_MAX = 8 };

/* The processes of a server. Of several, all figures are sums. */
struct procstat_server {
    pid_t pids[PROCSTAT_MAX];
    unsigned count; /* 0: no server, its figures stay 0 */
};

/* Dies when a process is gone. */
void procstat_take(struct procstat *out, const struct procstat_server *server);
void procstat_take_memory(struct procstat *out, const struct procstat_server *server);

#endif
