#include "core/publish.h"

#include "base/mem.h"
#include "core/receipt.h"

struct publish *publish_create(uint32_t part_count)
{
    struct publish *publish = mem_zalloc(sizeof(*publish) +
                                         sizeof(struct publish_part) * part_count);
    if (!publish) {
        return NULL;
    }
    publish->part_count = part_count;
    for (uint32_t i = 0; i < part_count; i++) {
        publish->parts[i].publish = publish;
    }
    return publish;
}

void publish_destroy(struct publish *publish)
{
    if (!publish) {
        return;
    }
    for (uint32_t i = 0; i < publish->part_count; i++) {
        buf_fini(&publish->parts[i].event);
    }
    receipt_unref(publish->receipt);
    mem_free(publish);
}
