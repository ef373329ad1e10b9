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

void procstat_take(struct procstat *out, pid_t pid)
{
    *out = (struct procstat){.wall_ns = bench_now_ns(),
                             .own_cpu_ns = cpu_of(CLOCK_PROCESS_CPUTIME_ID)};
    clockid_t clock;
    if (pid == 0) {
        return;
    }
    if (clock_getcpuclockid(pid, &clock) != 0) {
        bench_die("no process %d", (int)pid);
    }
    out->cpu_ns = cpu_of(clock);
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

void procstat_take_memory(struct procstat *out, pid_t pid)
{
    procstat_take(out, pid);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    out->rss = number_behind(path, "Rss:", "Rss:") * 1024;
    out->pss = number_behind(path, "Pss:", "Pss:") * 1024;
    out->slab = number_behind("/proc/meminfo", "Slab:", "Slab:") * 1024;
    out->tcp_mem = number_behind("/proc/net/sockstat", "TCP:", " mem ") * (uint64_t)getpagesize();
}
