/* What errors of a Redis server mean, in words for people. */
#include <stdio.h>

#include "bus/redis_link.h"

const char *redis_link_explain(const struct redis_reply *error, char out[REDIS_LINK_REASON_MAX])
{
    static const struct {
        struct str word;
        const char *meaning;
    } known[] = {
        {{"NOAUTH", 6}, "it wants a password"},
        {{"WRONGPASS", 9}, "user name or password is wrong"},
        {{"LOADING", 7}, "it loads its data"},
        {{"READONLY", 8}, "it is no master any more"},
        {{"MASTERDOWN", 10}, "it has lost its master"},
        {{"OOM", 3}, "its memory is full (maxmemory)"},
        {{"MISCONF", 7}, "it refuses writes since it can't save its data"},
        {{"NOREPLICAS", 10}, "it refuses writes since too few replicas follow"},
        {{"UNBLOCKED", 9}, "it is no master any more"},
        {{"MOVED", 5}, "it is part of a Redis Cluster, which is not supported"},
        {{"ERR max number of clients reached", 33}, "it takes no more clients (maxclients)"},
        {{"CROSSSLOT", 9}, "it is part of a Redis Cluster, which is not supported"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (redis_reply_is_error(error, known[i].word)) {
            snprintf(out, REDIS_LINK_REASON_MAX, "%s", known[i].meaning);
            return out;
        }
    }
    if (error->type == REDIS_REPLY_IS_ERROR) {
        int len = error->text.len < 200 ? (int)error->text.len : 200;
        snprintf(out, REDIS_LINK_REASON_MAX, "it says: %.*s", len, error->text.ptr);
    } else {
        snprintf(out, REDIS_LINK_REASON_MAX, "it answers what Redis does not answer");
    }
    return out;
}

bool redis_link_is_stale(const struct redis_reply *error)
{
    return redis_reply_is_error(error, STR("READONLY")) ||
           redis_reply_is_error(error, STR("LOADING")) ||
           redis_reply_is_error(error, STR("MASTERDOWN")) ||
           redis_reply_is_error(error, STR("UNBLOCKED"));
}
