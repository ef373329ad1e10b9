/* Preloaded into a gateway: allocations and log writes that fail when the test says so. The orders
 * lie in a file that both map (tests/harness/faults.py has the same layout). */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct orders {
    _Atomic uint64_t fail_nth;     /* this allocation from now fails, once; 0: none */
    _Atomic uint64_t allocations;  /* since fail_nth was set */
    _Atomic uint64_t failed;       /* allocations that failed */
    _Atomic uint64_t write_error;  /* errno of the next writes to stderr; 0: none */
    _Atomic uint64_t write_errors; /* how many of them are still to fail */
    _Atomic uint64_t short_writes; /* how many of the next ones write half */
};

static struct orders *orders;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

__attribute__((constructor)) static void map_orders(void)
{
    int fd = open(getenv("FAULT_ORDERS"), O_RDWR | O_CLOEXEC);
    void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof(*orders), PROT_READ | PROT_WRITE,
                                   MAP_SHARED, fd, 0);
    close(fd);
    orders = mapped;
}

static bool must_fail(void)
{
    uint64_t nth = orders ? atomic_load(&orders->fail_nth) : 0;
    if (nth == 0 || atomic_fetch_add(&orders->allocations, 1) + 1 != nth) {
        return false;
    }
    atomic_fetch_add(&orders->failed, 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return must_fail() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return must_fail() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return must_fail() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    *out = must_fail() ? NULL : __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return must_fail() ? MAP_FAILED
                       : (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

static bool take_one(_Atomic uint64_t *left)
{
    uint64_t now = atomic_load(left);
    while (now > 0) {
        if (atomic_compare_exchange_weak(left, &now, now - 1)) {
            return true;
        }
    }
    return false;
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (fd == STDERR_FILENO && orders && take_one(&orders->write_errors)) {
        errno = (int)atomic_load(&orders->write_error);
        return -1;
    }
    if (fd == STDERR_FILENO && orders && size > 1 && take_one(&orders->short_writes)) {
        size /= 2;
    }
    return syscall(SYS_write, fd, data, size);
}
