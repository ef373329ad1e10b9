#include "core/hll.h"

#include <string.h>

enum {
    INDEX_BITS = 12,
    WORD_REST_BITS = 32 - INDEX_BITS, /* of a word, behind the register's index */
    REST_BITS = 61 - INDEX_BITS,      /* of a hash */
    RANK_MAX = REST_BITS + 1,
    WIRE_SPARSE = 1,
    WIRE_DENSE = 2,
    PACKED = 4, /* registers in 3 bytes */
};

_Static_assert(1 << INDEX_BITS == HLL_REGISTERS, "an index for each register");
_Static_assert(HLL_SPARSE * sizeof(uint32_t) + 1 <= HLL_WIRE_MAX, "sparse is never larger");

/* Place of the first one among so many bits; bits + 1: there is none. */
static uint8_t rank_of(uint64_t value, unsigned bits)
{
    uint64_t aligned = value << (64 - bits);
    return (uint8_t)((aligned ? (unsigned)__builtin_clzll(aligned) : bits) + 1);
}

static void raise_register(struct hll *hll, uint32_t index, uint8_t rank)
{
    if (hll->registers[index] < rank) {
        hll->registers[index] = rank;
    }
}

static void add_word_densely(struct hll *hll, uint32_t word)
{
    raise_register(hll, word >> WORD_REST_BITS, rank_of(word, WORD_REST_BITS));
}

static void make_dense(struct hll *hll)
{
    uint32_t words[HLL_SPARSE];
    uint32_t count = hll->count;
    memcpy(words, hll->words, count * sizeof(words[0]));
    memset(hll, 0, sizeof(*hll));
    hll->is_dense = true;
    for (uint32_t i = 0; i < count; i++) {
        add_word_densely(hll, words[i]);
    }
}

/* The first place whose word is not below. */
static uint32_t find_word(const struct hll *hll, uint32_t word)
{
    uint32_t low = 0;
    uint32_t high = hll->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (hll->words[middle] < word) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void add_word(struct hll *hll, uint32_t word)
{
    if (hll->is_dense) {
        add_word_densely(hll, word);
        return;
    }
    uint32_t at = find_word(hll, word);
    if (at < hll->count && hll->words[at] == word) {
        return;
    }
    if (hll->count == HLL_SPARSE) {
        make_dense(hll);
        add_word_densely(hll, word);
        return;
    }
    memmove(&hll->words[at + 1], &hll->words[at], (hll->count - at) * sizeof(word));
    hll->words[at] = word;
    hll->count++;
}

void hll_add(struct hll *hll, uint64_t hash)
{
    if (hll->is_dense) {
        raise_register(hll, (uint32_t)(hash >> (64 - INDEX_BITS)), rank_of(hash >> 3, REST_BITS));
    } else {
        add_word(hll, (uint32_t)(hash >> 32));
    }
}

/* Written so that the compiler does many at a time. */
static void raise_all(uint8_t *restrict registers, const uint8_t *restrict ranks)
{
    for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
        registers[i] = registers[i] < ranks[i] ? ranks[i] : registers[i];
    }
}

void hll_merge(struct hll *into, const struct hll *from)
{
    if (!from->is_dense) {
        for (uint32_t i = 0; i < from->count; i++) {
            add_word(into, from->words[i]);
        }
        return;
    }
    if (!into->is_dense) {
        make_dense(into);
    }
    raise_all(into->registers, from->registers);
}

/* ---- the estimate ---- */

/* Ertl's sigma: what registers that nothing has reached add. share: of these; below 1. */
static double sigma(double share)
{
    double weight = 1;
    double sum = share;
    double before;
    do {
        before = sum;
        share *= share;
        sum += share * weight;
        weight *= 2;
    } while (sum != before);
    return sum;
}

static double estimate(const struct hll *hll)
{
    static const double alpha = 0.72134752044448170368; /* 1 / (2 ln 2) */
    uint32_t counts[RANK_MAX + 1] = {0};
    for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
        counts[hll->registers[i]]++;
    }
    if (counts[0] == HLL_REGISTERS) {
        return 0;
    }
    double sum = 0;
    for (int rank = RANK_MAX; rank >= 1; rank--) {
        sum = (sum + counts[rank]) / 2;
    }
    sum += HLL_REGISTERS * sigma((double)counts[0] / HLL_REGISTERS);
    return alpha * HLL_REGISTERS * HLL_REGISTERS / sum;
}

uint64_t hll_count(const struct hll *hll)
{
    return hll->is_dense ? (uint64_t)(estimate(hll) + 0.5) : hll->count;
}

bool hll_is_equal(const struct hll *hll, const struct hll *other)
{
    if (hll->is_dense || other->is_dense) {
        return hll->is_dense == other->is_dense &&
               memcmp(hll->registers, other->registers, sizeof(hll->registers)) == 0;
    }
    return hll->count == other->count &&
           memcmp(hll->words, other->words, hll->count * sizeof(hll->words[0])) == 0;
}

/* ---- the wire ---- */

static int write_dense(struct buf *out, const struct hll *hll)
{
    for (uint32_t i = 0; i < HLL_REGISTERS; i += PACKED) {
        const uint8_t *four = &hll->registers[i];
        uint32_t bits = (uint32_t)four[0] | (uint32_t)four[1] << 6 | (uint32_t)four[2] << 12 |
                        (uint32_t)four[3] << 18;
        buf_append(out, &bits, 3);
    }
    return buf_err(out);
}

int hll_write(struct buf *out, const struct hll *hll)
{
    buf_append_char(out, hll->is_dense ? WIRE_DENSE : WIRE_SPARSE);
    if (hll->is_dense) {
        return write_dense(out, hll);
    }
    return buf_append(out, hll->words, hll->count * sizeof(hll->words[0]));
}

static bool merge_words(struct hll *into, struct str wire)
{
    if (wire.len % sizeof(uint32_t) != 0 || wire.len > HLL_SPARSE * sizeof(uint32_t)) {
        return false;
    }
    for (size_t at = 0; at < wire.len; at += sizeof(uint32_t)) {
        uint32_t word;
        memcpy(&word, wire.ptr + at, sizeof(word));
        add_word(into, word);
    }
    return true;
}

/* Returns the highest. */
static uint8_t unpack(const uint8_t *wire, uint8_t out_ranks[HLL_REGISTERS])
{
    uint8_t highest = 0;
    for (uint32_t i = 0; i < HLL_REGISTERS; i += PACKED, wire += 3) {
        uint32_t bits = (uint32_t)wire[0] | (uint32_t)wire[1] << 8 | (uint32_t)wire[2] << 16;
        for (uint32_t k = 0; k < PACKED; k++) {
            uint8_t rank = bits >> k * 6 & 63;
            out_ranks[i + k] = rank;
            highest = highest < rank ? rank : highest;
        }
    }
    return highest;
}

/* A rank that no hash has would spoil every later count. */
static bool merge_registers(struct hll *into, struct str wire)
{
    uint8_t ranks[HLL_REGISTERS];
    if (wire.len != HLL_WIRE_MAX - 1 || unpack((const uint8_t *)wire.ptr, ranks) > RANK_MAX) {
        return false;
    }
    if (!into->is_dense) {
        make_dense(into);
    }
    raise_all(into->registers, ranks);
    return true;
}

bool hll_merge_wire(struct hll *into, struct str wire)
{
    if (wire.len == 0) {
        return false;
    }
    struct str body = str_make(wire.ptr + 1, wire.len - 1);
    switch (wire.ptr[0]) {
    case WIRE_SPARSE: return merge_words(into, body);
    case WIRE_DENSE: return merge_registers(into, body);
    default: return false;
    }
}
