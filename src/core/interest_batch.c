#include "base/err.h"
#include "base/mem.h"
#include "core/hub.h"

struct interest_batch *interest_batch_create(uint32_t worker)
{
    struct interest_batch *batch = mem_zalloc(sizeof(*batch));
    if (batch) {
        batch->worker = worker;
    }
    return batch;
}

void interest_batch_destroy(struct interest_batch *batch)
{
    if (batch) {
        mem_free(batch->items);
        mem_free(batch->waiters);
        mem_free(batch);
    }
}

static int grow(void **array, uint32_t *cap, uint32_t count, size_t item_size)
{
    if (count < *cap) {
        return 0;
    }
    uint32_t wanted = *cap ? *cap * 2 : 4;
    void *grown = mem_realloc(*array, wanted * item_size);
    if (!grown) {
        return ERR_NO_MEMORY;
    }
    *array = grown;
    *cap = wanted;
    return 0;
}

int interest_batch_add(struct interest_batch *batch, uint64_t key, enum interest_op op)
{
    if (grow((void **)&batch->items, &batch->item_cap, batch->item_count, sizeof(*batch->items))) {
        return ERR_NO_MEMORY;
    }
    batch->items[batch->item_count++] = (struct interest_item){.key = key, .op = op};
    return 0;
}

int interest_batch_wait(struct interest_batch *batch, struct interest_waiter waiter)
{
    if (grow((void **)&batch->waiters, &batch->waiter_cap, batch->waiter_count,
             sizeof(*batch->waiters))) {
        return ERR_NO_MEMORY;
    }
    batch->waiters[batch->waiter_count++] = waiter;
    return 0;
}
