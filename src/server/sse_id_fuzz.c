/* Any bytes as a Last-Event-ID: what is read is written and read again as the same. */
#include <stdlib.h>

#include "base/err.h"
#include "server/sse_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session_resume resume;
    struct session_resume again;
    char id[SSE_ID_MAX];
    if (!sse_id_read(&resume, str_make((const char *)data, size), BUS_MAX_QUEUES)) {
        return 0;
    }
    for (uint32_t q = 0; q < BUS_MAX_QUEUES; q++) {
        resume.seen.started |= (uint64_t)resume.has[q] << q;
    }
    size_t len = sse_id_write(id, str_of(resume.epoch), &resume.seen);
    ASSERT(len <= SSE_ID_MAX && sse_id_read(&again, str_make(id, len), BUS_MAX_QUEUES));
    again.seen.started = resume.seen.started;
    ASSERT(strcmp(resume.epoch, again.epoch) == 0);
    ASSERT(memcmp(resume.has, again.has, sizeof(resume.has)) == 0);
    ASSERT(memcmp(&resume.seen, &again.seen, sizeof(resume.seen)) == 0);
    return 0;
}
