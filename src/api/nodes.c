#include "api/nodes.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"

static const char *state_name(enum cluster_state state)
{
    switch (state) {
    case CLUSTER_READY: return "ready";
    case CLUSTER_DRAINING: return "draining";
    case CLUSTER_STARTING:
    case CLUSTER_GONE: break;
    }
    return "starting";
}

void nodes_write_fields(struct buf *out, const struct cluster_node *node)
{
    char boot[9];
    snprintf(boot, sizeof(boot), "%08x", node->boot);
    json_write_string_field(out, STR("node"), str_of(node->name));
    json_write_string_field(out, STR("boot"), str_of(boot));
    json_write_string_field(out, STR("state"), str_of(state_name(node->state)));
    json_write_string_field(out, STR("version"), str_of(node->version));
    json_write_u64_field(out, STR("started_at"), node->started_ms);
    json_write_u64_field(out, STR("sessions"), node->sessions);
    json_write_u64_field(out, STR("users"), node->users);
    buf_printf(out, ",\"bus_lag_ms\":%u.%03u", node->lag_us / 1000, node->lag_us % 1000);
    json_write_u64_field(out, STR("window_age_ms"), node->window_age_ms);
    json_write_bool_field(out, STR("self"), node->is_self);
}

static void write_nodes(struct buf *out, struct cluster *cluster, struct cluster_node *nodes)
{
    bool is_known;
    uint32_t count = cluster_nodes(cluster, nodes, &is_known);
    buf_append_str(out, STR("{\"nodes\":["));
    for (uint32_t i = 0; i < count; i++) {
        json_write_comma(out);
        buf_append_char(out, '{');
        nodes_write_fields(out, &nodes[i]);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), is_known);
    buf_append_char(out, '}');
}

void nodes_handle_list(struct api_call *call)
{
    struct cluster_node *nodes = mem_alloc(sizeof(*nodes) * CLUSTER_MAX_NODES);
    struct buf out = {0};
    if (nodes) {
        write_nodes(&out, call->worker->gateway->cluster, nodes);
    }
    if (!nodes || buf_err(&out)) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    } else {
        http_answer_json(call->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    mem_free(nodes);
}
