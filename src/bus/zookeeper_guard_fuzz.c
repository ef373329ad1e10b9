/* A server's bytes, as they wait in the socket at the beginning of two frames: never read beyond
 * their end, and a frame that passes is of a length that may be allocated. */
#include <stdlib.h>

#include "bus/zookeeper_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int32_t length_of(const uint8_t *data)
{
    return (int32_t)((uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 |
                     data[3]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zk_guard guard = {0};
    for (int frame = 0; frame < 2 && size > 0; frame++) {
        uint32_t calls = data[0] & 1;
        if (zk_guard_look(&guard, data + 1, size - 1, calls) != ZK_GUARD_GOOD) {
            return 0;
        }
        if (size < 5 || length_of(data + 1) < 16 || length_of(data + 1) > ZK_GUARD_FRAME_MAX) {
            abort();
        }
        zk_guard_passed(&guard);
        size_t step = size > 42 ? 42 : size;
        data += step;
        size -= step;
    }
    return 0;
}
