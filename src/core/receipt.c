#include "core/receipt.h"

#include "base/mem.h"

void receipt_init(struct receipt *receipt, unsigned parts, void (*deliver)(struct receipt *),
                  void *owner)
{
    receipt->deliver = deliver;
    receipt->owner = owner;
    atomic_init(&receipt->refs, 1);
    atomic_init(&receipt->open, parts);
}

struct receipt *receipt_create(unsigned parts, void (*deliver)(struct receipt *), void *owner)
{
    struct receipt *receipt = mem_zalloc(sizeof(*receipt));
    if (receipt) {
        receipt_init(receipt, parts, deliver, owner);
    }
    return receipt;
}

bool receipt_is_complete(struct receipt *receipt)
{
    return atomic_load_explicit(&receipt->open, memory_order_acquire) == 0 &&
           atomic_load_explicit(&receipt->nodes_silent, memory_order_acquire) == 0 &&
           !atomic_load_explicit(&receipt->is_short, memory_order_acquire);
}

void receipt_unref(struct receipt *receipt)
{
    if (receipt && atomic_fetch_sub_explicit(&receipt->refs, 1, memory_order_acq_rel) == 1) {
        if (receipt->on_free) {
            receipt->on_free(receipt);
        }
        mem_free(receipt);
    }
}

void receipt_close_many(struct receipt *receipt, unsigned count)
{
    if (count > 0 &&
        atomic_fetch_sub_explicit(&receipt->open, count, memory_order_acq_rel) == count) {
        receipt_ref(receipt);
        receipt->deliver(receipt);
    }
}

void receipt_close(struct receipt *receipt)
{
    receipt_close_many(receipt, 1);
}
