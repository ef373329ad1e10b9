#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "bus/zookeeper_private.h"

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

int zk_numbers_read(const struct String_vector *names, char prefix, uint64_t **out_numbers,
                    size_t *out_count, size_t *out_foreign)
{
    size_t total = names->count > 0 ? (size_t)names->count : 0;
    uint64_t *numbers = mem_alloc((total + 1) * sizeof(*numbers));
    if (!numbers) {
        return ERR_NO_MEMORY;
    }
    size_t count = 0;
    for (size_t i = 0; i < total; i++) {
        count += zk_name_number(str_of(names->data[i]), prefix, &numbers[count]);
    }
    qsort(numbers, count, sizeof(*numbers), compare);
    *out_numbers = numbers;
    *out_count = count;
    *out_foreign = total - count;
    return 0;
}

static void step(struct zk_search *search);

static void on_stat(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_search *search = owner;
    if (tag != search->round) {
        return; /* it has been ended */
    }
    if (reply->rc != ZOK && reply->rc != ZNONODE) {
        search->on_found(search, reply->rc, 0);
        return;
    }
    size_t middle = search->low + (search->high - search->low) / 2;
    if (reply->rc == ZOK && reply->stat->ctime >= (int64_t)search->since_ms) {
        search->high = middle;
    } else {
        search->low = middle + 1;
    }
    step(search);
}

static void step(struct zk_search *search)
{
    if (search->low == search->high) {
        search->on_found(search, ZOK, search->low);
        return;
    }
    char path[ZK_NODE_MAX];
    uint64_t number = search->numbers[search->low + (search->high - search->low) / 2];
    if (search->bucket < 0) {
        zk_name_bucket(path, search->names, search->queue, (uint32_t)number);
    } else {
        zk_name_record(path, search->names, search->queue, (uint32_t)search->bucket, number);
    }
    zk_exists(search->link, path, NULL, NULL, (struct zk_then){on_stat, search, search->round});
}

void zk_search_start(struct zk_search *search, struct zk_bus *zk, uint32_t queue, int64_t bucket,
                     uint64_t age_ms,
                     void (*on_found)(struct zk_search *search, int rc, size_t index))
{
    uint64_t now_ms = clock_wall_ms();
    search->link = &zk->link;
    search->names = &zk->names;
    search->queue = queue;
    search->bucket = bucket;
    search->since_ms = now_ms > age_ms ? now_ms - age_ms : 0;
    search->on_found = on_found;
    search->low = 0;
    search->high = search->count;
    step(search);
}

void zk_search_fini(struct zk_search *search)
{
    mem_free(search->numbers);
    search->numbers = NULL;
    search->count = 0;
    search->round++;
}
