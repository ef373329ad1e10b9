/* A name server's answer, as a route and as a cluster: what is found lies inside of it, and a body
 * whose keys are quoted stays as it is when they are quoted again. */
#include "proto/rocketmq_route.h"

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_up(struct str body,
                    int (*find)(struct rocketmq_route_broker *, struct str, struct str))
{
    struct rocketmq_route_broker broker;
    if (find(&broker, body, STR("broker-a")) == 0) {
        ASSERT(broker.host.ptr >= body.ptr && broker.host.ptr < body.ptr + body.len);
        ASSERT(broker.host.len > 0 && broker.port > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf quoted = {0};
    struct buf again = {0};
    if (rocketmq_route_quote_keys(&quoted, str_make(data, size)) == 0) {
        look_up(buf_str(&quoted), rocketmq_route_find);
        look_up(buf_str(&quoted), rocketmq_route_find_in_cluster);
        ASSERT(rocketmq_route_quote_keys(&again, buf_str(&quoted)) == 0);
        ASSERT(str_equal(buf_str(&again), buf_str(&quoted)));
    }
    buf_fini(&quoted);
    buf_fini(&again);
    return 0;
}
