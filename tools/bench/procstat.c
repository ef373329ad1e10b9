#include "procstat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench_util.h"

static uint64_t cpu_of(clockid_t clock)
{
    struct timespec used;
    if (clock_gettime(clock, &used) != 0) {
        bench_die("the server is gone");
    }
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static uint64_t cpu_of_process(pid_t pid)
{
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0) {
        bench_die("no process %d", (int)pid);
    }
    return cpu_of(clock);
}

void procstat_take(struct procstat *out, const struct procstat_server *server)
{
    *out = (struct procstat){.wall_ns = bench_now_ns(),
                             .own_cpu_ns = cpu_of(CLOCK_PROCESS_CPUTIME_ID)};
    for (unsigned i = 0; i < server->count; i++) {
        out->cpu_ns += cpu_of_process(server->pids[i]);
    }
}

/* The number behind a label in a /proc file, 0 when there is none. */
static uint64_t number_behind(const char *path, const char *line_start, const char *label)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    char line[512];
    uint64_t number = 0;
    while (fgets(line, sizeof(line), file)) {
        const char *at = strncmp(line, line_start, strlen(line_start)) == 0 ? strstr(line, label)
                                                                            : NULL;
        if (at) {
            number = strtoull(at + strlen(label), NULL, 10);
            break;
        }
    }
    fclose(file);
    return number;
}

void procstat_take_memory(struct procstat *out, const struct procstat_server *server)
{
    procstat_take(out, server);
    for (unsigned i = 0; i < server->count; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)server->pids[i]);
        out->rss += number_behind(path, "Rss:", "Rss:") * 1024;
        out->pss += number_behind(path, "Pss:", "Pss:") * 1024;
    }
    out->slab = number_behind("/proc/meminfo", "Slab:", "Slab:") * 1024;
    out->tcp_mem = number_behind("/proc/net/sockstat", "TCP:", " mem ") * (uint64_t)getpagesize();
}
