/* What is read whole is read the same with bytes behind it, and every cut of it asks for more. */
#include "proto/proxy_protocol.h"

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_cuts(const uint8_t *data, size_t whole)
{
    struct proxy_header header;
    size_t step = whole > 256 ? whole / 64 : 1;
    for (size_t len = 1; len < whole; len += step) {
        ASSERT(proxy_header_read(&header, data, len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header, again;
    if (size == 0) {
        return 0;
    }
    ssize_t len = proxy_header_read(&header, data, size);
    if (len <= 0) {
        ASSERT(len == 0 || len == ERR_PROTOCOL || len == ERR_TOO_LARGE);
        return 0;
    }
    ASSERT((size_t)len <= size && len <= PROXY_HEADER_MAX);
    ASSERT(proxy_header_read(&again, data, (size_t)len) == len);
    ASSERT(again.has_source == header.has_source);
    ASSERT(!header.has_source || memcmp(again.ip, header.ip, IP_BYTES) == 0);
    check_cuts(data, (size_t)len);
    return 0;
}
