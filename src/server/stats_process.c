/* The process and its machine, asked for at a scrape. What is common has the names that
 * Prometheus's own libraries use, so that dashboards made for any program show this one too. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/stats.h"
#include "server/stats_private.h"

enum { FILE_BYTES = 4096, LISTED_DESCRIPTORS = 16384 };

/* "" where it can't be read. */
static void read_file(const char *path, char out[FILE_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, out, FILE_BYTES - 1);
    out[len > 0 ? len : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

static double read_started(void *arg)
{
    static double started_s;
    if (started_s == 0) {
        started_s = (double)clock_wall_ms() / 1000;
    }
    return started_s;
}

static double read_cpu(void *arg)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage)) {
        return 0;
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Of /proc/self/statm, in pages: 0 is all that is mapped, 1 what is in memory. */
static double read_pages(void *arg)
{
    char text[FILE_BYTES];
    unsigned long pages[2] = {0, 0};
    read_file("/proc/self/statm", text);
    if (sscanf(text, "%lu %lu", &pages[0], &pages[1]) != 2) {
        return 0;
    }
    return (double)pages[(size_t)arg] * (double)sysconf(_SC_PAGESIZE);
}

static double count_listed_descriptors(void)
{
    double count = 0;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        count += entry->d_name[0] != '.';
    }
    if (folder) {
        closedir(folder);
    }
    return count > 0 ? count - 1 : 0; /* the folder's own */
}

/* How large the table is that the kernel keeps for them. */
static unsigned long descriptor_table(void)
{
    char text[FILE_BYTES];
    unsigned long size = 0;
    read_file("/proc/self/status", text);
    const char *at = strstr(text, "FDSize:");
    return at && sscanf(at, "FDSize: %lu", &size) == 1 ? size : 0;
}

/* Linux tells the number as the folder's size from 6.2 on. Before, it has to be counted, which
 * takes a microsecond for each: of very many that is too long for a scrape, and sessions are told
 * apart already. */
static double read_open_descriptors(void *arg)
{
    struct stat info;
    if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0) {
        return (double)info.st_size;
    }
    return descriptor_table() <= LISTED_DESCRIPTORS ? count_listed_descriptors() : NAN;
}

static double read_max_descriptors(void *arg)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) ? 0 : (double)limit.rlim_cur;
}

/* ---- the kernel ---- */

enum tcp_value { TCP_INUSE, TCP_ORPHAN, TCP_TIME_WAIT, TCP_PAGES, TCP_VALUES };

/* The kernel tells sockets of IPv6 by themselves, also those that clients of IPv4 use. */
static unsigned long read_tcp6_in_use(void)
{
    char text[FILE_BYTES];
    unsigned long count;
    read_file("/proc/net/sockstat6", text);
    const char *at = strstr(text, "TCP6:");
    return at && sscanf(at, "TCP6: inuse %lu", &count) == 1 ? count : 0;
}

static void read_tcp(unsigned long out[TCP_VALUES])
{
    char text[FILE_BYTES];
    unsigned long allocated;
    memset(out, 0, sizeof(out[0]) * TCP_VALUES);
    read_file("/proc/net/sockstat", text);
    const char *at = strstr(text, "TCP:");
    if (at) {
        sscanf(at, "TCP: inuse %lu orphan %lu tw %lu alloc %lu mem %lu", &out[TCP_INUSE],
               &out[TCP_ORPHAN], &out[TCP_TIME_WAIT], &allocated, &out[TCP_PAGES]);
    }
    out[TCP_INUSE] += read_tcp6_in_use();
}

static double read_tcp_sockets(void *arg)
{
    unsigned long values[TCP_VALUES];
    read_tcp(values);
    return (double)values[(size_t)arg];
}

static double read_tcp_memory(void *arg)
{
    return read_tcp_sockets((void *)(size_t)TCP_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

static double read_tcp_limit(void *arg)
{
    char text[FILE_BYTES];
    unsigned long low;
    unsigned long pressure;
    unsigned long high = 0;
    read_file("/proc/sys/net/ipv4/tcp_mem", text);
    return sscanf(text, "%lu %lu %lu", &low, &pressure, &high) == 3
               ? (double)high * (double)sysconf(_SC_PAGESIZE)
               : 0;
}

static double read_one(void *arg)
{
    return 1;
}

static const struct stats_reader readers[] = {
    {FAMILY(process_start_time_seconds), read_started, 0},
    {FAMILY(process_cpu_seconds_total), read_cpu, 0},
    {FAMILY(process_virtual_memory_bytes), read_pages, 0},
    {FAMILY(process_resident_memory_bytes), read_pages, 1},
    {FAMILY(process_open_fds), read_open_descriptors, 0},
    {FAMILY(process_max_fds), read_max_descriptors, 0},
    {FAMILY(kernel_tcp_memory_bytes), read_tcp_memory, 0},
    {FAMILY(kernel_tcp_memory_limit_bytes), read_tcp_limit, 0},
};

/* They need no gateway, so they stay. */
void stats_init_process(void)
{
    static const char *const states[] = {"inuse", "orphan", "time_wait"};
    read_started(NULL);
    stats_set_table(readers, sizeof(readers) / sizeof(readers[0]), true);
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        metric_set_reader(SERIES(kernel_tcp_sockets, states[i]), read_tcp_sockets, (void *)i);
    }
    metric_set_reader(SERIES(build_info, TIDEGATE_VERSION), read_one, NULL);
}
