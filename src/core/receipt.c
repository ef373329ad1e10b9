#include "core/receipt.h"

#include "base/mem.h"

static atomic_uint_fast64_t held;

void receipt_init(struct receipt *receipt, unsigned parts, void (*deliver)(struct receipt *),
                  void *owner)
{
    receipt->deliver = deliver;
    receipt->owner = owner;
    atomic_init(&receipt->refs, 1);
    atomic_init(&receipt->open, parts);
    atomic_fetch_add_explicit(&held, 1, memory_order_relaxed);
}

struct receipt *receipt_create(unsigned parts, void (*deliver)(struct receipt *), void *owner)
{
    struct receipt *receipt = mem_zalloc(sizeof(*receipt));
    if (receipt) {
        receipt_init(receipt, parts, deliver, owner);
    }
    return receipt;
}

struct receipt *receipt_create_for_later(void)
{
    struct receipt *receipt = receipt_create(1, receipt_unref, NULL);
    if (receipt) {
        receipt->is_for_later = true;
        receipt->counts_writes = true;
    }
    return receipt;
}

uint64_t receipt_held(void)
{
    return atomic_load_explicit(&held, memory_order_relaxed);
}

static unsigned value_of(atomic_uint *count)
{
    return atomic_load_explicit(count, memory_order_acquire);
}

/* What the others counted is read first, and was added to the sum first, so it is no more. */
void receipt_add_counts(struct receipt *receipt, struct receipt_counts *out_counts)
{
    unsigned others_matched = value_of(&receipt->others_matched);
    unsigned others_written = value_of(&receipt->others_written);
    unsigned others_acked = value_of(&receipt->others_acked);
    unsigned open = value_of(&receipt->open);
    out_counts->matched += value_of(&receipt->matched) - others_matched;
    out_counts->written += value_of(&receipt->written) - others_written;
    out_counts->acked += value_of(&receipt->acked) - others_acked;
    out_counts->replayed += value_of(&receipt->replayed);
    for (int i = 0; i < RECEIPT_DROPS; i++) {
        out_counts->dropped_by[i] += value_of(&receipt->dropped_by[i]);
    }
    if (open > value_of(&receipt->awaited) ||
        atomic_load_explicit(&receipt->is_short, memory_order_acquire)) {
        out_counts->is_settled = false;
    }
}

bool receipt_is_complete(struct receipt *receipt)
{
    return atomic_load_explicit(&receipt->open, memory_order_acquire) == 0 &&
           atomic_load_explicit(&receipt->nodes_silent, memory_order_acquire) == 0 &&
           !atomic_load_explicit(&receipt->is_short, memory_order_acquire) &&
           !atomic_load_explicit(&receipt->others_short, memory_order_acquire);
}

void receipt_unref(struct receipt *receipt)
{
    if (receipt && atomic_fetch_sub_explicit(&receipt->refs, 1, memory_order_acq_rel) == 1) {
        atomic_fetch_sub_explicit(&held, 1, memory_order_relaxed);
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
