/* Which nodes went without a word and have not come back: for an alert, since a dead node can't
 * raise one. Known by their names, as a new boot of the same node ends the loss. */
#include <string.h>

#include "core/cluster_private.h"

static struct cluster_lost *find(struct cluster *cluster, const char *name)
{
    for (size_t i = 0; i < CLUSTER_LOST_MAX; i++) {
        struct cluster_lost *lost = &cluster->lost[i];
        if (lost->at_ms && strcmp(lost->name, name) == 0) {
            return lost;
        }
    }
    return NULL;
}

/* A free place, else that of the one lost first. */
static struct cluster_lost *take_place(struct cluster *cluster)
{
    struct cluster_lost *oldest = &cluster->lost[0];
    for (size_t i = 1; i < CLUSTER_LOST_MAX; i++) {
        if (cluster->lost[i].at_ms < oldest->at_ms) {
            oldest = &cluster->lost[i];
        }
    }
    return oldest;
}

void lost_add(struct cluster *cluster, const struct cluster_node *node)
{
    pthread_mutex_lock(&cluster->lock);
    struct cluster_lost *lost = find(cluster, node->name);
    lost = lost ? lost : take_place(cluster);
    memcpy(lost->name, node->name, sizeof(lost->name));
    lost->at_ms = cluster->now_ms ? cluster->now_ms : 1;
    pthread_mutex_unlock(&cluster->lock);
}

void lost_forget(struct cluster *cluster, const struct cluster_node *node)
{
    pthread_mutex_lock(&cluster->lock);
    struct cluster_lost *lost = find(cluster, node->name);
    if (lost) {
        lost->at_ms = 0;
    }
    pthread_mutex_unlock(&cluster->lock);
}

uint32_t cluster_count_lost(struct cluster *cluster, uint64_t now_ms)
{
    uint32_t count = 0;
    pthread_mutex_lock(&cluster->lock);
    for (size_t i = 0; i < CLUSTER_LOST_MAX; i++) {
        const struct cluster_lost *lost = &cluster->lost[i];
        count += lost->at_ms && now_ms < lost->at_ms + CLUSTER_LOST_MS;
    }
    pthread_mutex_unlock(&cluster->lock);
    return count;
}
