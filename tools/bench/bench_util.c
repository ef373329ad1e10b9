#include "bench_util.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

void *bench_zalloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        bench_die("out of memory");
    }
    return memory;
}

void *bench_copy(const void *data, size_t len)
{
    return memcpy(bench_zalloc(len, 1), data, len);
}

size_t bench_put_u64(char *out, uint64_t value)
{
    char reversed[20];
    size_t len = 0;
    do {
        reversed[len++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < len; i++) {
        out[i] = reversed[len - 1 - i];
    }
    return len;
}

const char *bench_get_u64(const char *at, const char *end, uint64_t *out_value)
{
    uint64_t value = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        value = value * 10 + (uint64_t)(*at++ - '0');
    }
    *out_value = value;
    return at;
}

void bench_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void bench_set_nodelay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void bench_ports_add(struct bench_ports *ports, const char *text)
{
    if (ports->count == BENCH_NODES_MAX) {
        bench_die("more than %d nodes", BENCH_NODES_MAX);
    }
    ports->numbers[ports->count++] = (uint16_t)strtoul(text, NULL, 10);
}

uint16_t bench_ports_turn(const struct bench_ports *ports, uint32_t index)
{
    return ports->numbers[index % ports->count];
}
