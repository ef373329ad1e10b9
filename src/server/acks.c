#include "server/acks.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { ACKS_FIRST = 4 };

struct acks {
    uint32_t count, cap;
    struct awaited {
        uint64_t id;
        struct receipt *receipt; /* a reference */
        bool holds;
        uint32_t sent; /* the caller's clock */
    } items[];         /* oldest first */
};

static int64_t size_of(uint32_t cap)
{
    return (int64_t)(sizeof(struct acks) + sizeof(struct awaited) * cap);
}

static void free_acks(struct acks **acks)
{
    mem_account(MEM_SESSIONS, -size_of((*acks)->cap));
    mem_free(*acks);
    *acks = NULL;
}

static void let_go(struct awaited *awaited)
{
    if (awaited->holds) {
        receipt_close(awaited->receipt);
    }
    receipt_unref(awaited->receipt);
}

/* Nobody will know whether the client had it. */
static void give_up(struct awaited *awaited)
{
    atomic_store_explicit(&awaited->receipt->is_short, true, memory_order_release);
    let_go(awaited);
}

static void remove_at(struct acks **acks, uint32_t index)
{
    struct acks *here = *acks;
    here->count--;
    memmove(&here->items[index], &here->items[index + 1],
            sizeof(here->items[0]) * (here->count - index));
    if (here->count == 0) {
        free_acks(acks);
    }
}

static bool grow(struct acks **acks, uint32_t max)
{
    uint32_t old_cap = *acks ? (*acks)->cap : 0;
    uint32_t cap = old_cap ? old_cap * 2 : ACKS_FIRST;
    cap = cap < max ? cap : max;
    struct acks *grown = mem_realloc(*acks, (size_t)size_of(cap));
    if (!grown) {
        return false;
    }
    mem_account(MEM_SESSIONS, size_of(cap) - (*acks ? size_of(old_cap) : 0));
    grown->count = old_cap ? grown->count : 0;
    grown->cap = cap;
    *acks = grown;
    return true;
}

/* 0, ERR_NO_MEMORY, or the one that was given up for it. */
static int make_room(struct acks **acks, uint32_t max)
{
    if (*acks && (*acks)->count == (*acks)->cap) {
        acks_sweep(acks);
    }
    if (*acks && (*acks)->count >= max) {
        give_up(&(*acks)->items[0]);
        (*acks)->count--;
        memmove(&(*acks)->items[0], &(*acks)->items[1], sizeof((*acks)->items[0]) * (*acks)->count);
        return 1;
    }
    bool has_room = *acks && (*acks)->count < (*acks)->cap;
    return has_room || grow(acks, max) ? 0 : ERR_NO_MEMORY;
}

int acks_expect(struct acks **acks, uint64_t id, struct receipt *receipt, bool holds, uint32_t max,
                uint32_t sent)
{
    int given_up = make_room(acks, max);
    if (given_up < 0) {
        return given_up;
    }
    if (holds) {
        receipt_open(receipt);
    }
    (*acks)->items[(*acks)->count++] = (struct awaited){id, receipt_ref(receipt), holds, sent};
    return given_up;
}

/* From the newest: clients confirm soon. */
static struct awaited *find(struct acks *acks, uint64_t id)
{
    for (uint32_t i = acks ? acks->count : 0; i > 0; i--) {
        if (acks->items[i - 1].id == id) {
            return &acks->items[i - 1];
        }
    }
    return NULL;
}

static void remove_awaited(struct acks **acks, struct awaited *awaited)
{
    let_go(awaited);
    remove_at(acks, (uint32_t)(awaited - (*acks)->items));
}

bool acks_take(struct acks **acks, uint64_t id, uint32_t *out_sent)
{
    struct awaited *awaited = find(*acks, id);
    if (!awaited) {
        return false;
    }
    *out_sent = awaited->sent;
    receipt_ack(awaited->receipt);
    remove_awaited(acks, awaited);
    return true;
}

/* Of what only a replay sent, no receipt counted the session. */
static void count_drop(const struct awaited *awaited, enum receipt_drop why)
{
    if (awaited->holds) {
        receipt_drop(awaited->receipt, why, 1);
    }
}

void acks_drop(struct acks **acks, uint64_t id, enum receipt_drop why)
{
    struct awaited *awaited = find(*acks, id);
    if (awaited) {
        count_drop(awaited, why);
        remove_awaited(acks, awaited);
    }
}

uint32_t acks_sweep(struct acks **acks)
{
    uint32_t kept = 0;
    uint32_t count = acks_count(*acks);
    for (uint32_t i = 0; i < count; i++) {
        struct awaited *awaited = &(*acks)->items[i];
        if (receipt_has_askers(awaited->receipt)) {
            (*acks)->items[kept++] = *awaited;
        } else {
            let_go(awaited);
        }
    }
    if (count > 0) {
        (*acks)->count = kept;
    }
    if (count > 0 && kept == 0) {
        free_acks(acks);
    }
    return count - kept;
}

void acks_drop_all(struct acks **acks, enum receipt_drop why)
{
    uint32_t count = acks_count(*acks);
    for (uint32_t i = 0; i < count; i++) {
        count_drop(&(*acks)->items[i], why);
        let_go(&(*acks)->items[i]);
    }
    if (count > 0) {
        free_acks(acks);
    }
}

uint32_t acks_count(const struct acks *acks)
{
    return acks ? acks->count : 0;
}
