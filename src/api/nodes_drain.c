/* POST /v1/nodes/{node}:drain and :resume: any node asks any other, which does it and answers. */
#include <stdio.h>

#include "api/gather.h"
#include "api/nodes.h"
#include "base/log.h"
#include "base/mem.h"

/* As they travel between nodes: never to be renumbered. The name of the gather is an order: to
 * drain within the node's own drain.window, or, a number, within so many ms; or to resume. */
enum { NODES_ORDER = 20, WINDOW_MAX_MS = 3600000, ORDER_BYTES = 24 };
#define ORDER_DRAIN STR("drain")
#define ORDER_RESUME STR("resume")

/* Counts of the part that answers. */
enum { ORDER_OUTCOME, ORDER_LEFT_MS, ORDER_SESSIONS };
enum { OUTCOME_NONE, OUTCOME_DRAINING, OUTCOME_RESUMED, OUTCOME_STOPPING };

/* ---- on the node that is meant ---- */

static uint64_t drain_own(struct worker *worker, uint64_t window_ms)
{
    log_info("drain.asked", "the API asks this node to send its sessions away");
    return gateway_drain(worker->gateway, &worker->settings->drain, window_ms, false);
}

static void obey(struct gather_part *part)
{
    struct worker *worker = part->worker;
    struct str order = part->gather->name;
    uint64_t window_ms = worker->settings->drain.window_ms;
    part->counts[ORDER_SESSIONS] = admission_sessions(&worker->gateway->admission);
    if (str_equal(order, ORDER_RESUME)) {
        part->counts[ORDER_OUTCOME] = gateway_resume(worker->gateway) ? OUTCOME_RESUMED
                                                                      : OUTCOME_STOPPING;
    } else if (str_equal(order, ORDER_DRAIN) || str_to_u64(order, WINDOW_MAX_MS, &window_ms)) {
        part->counts[ORDER_LEFT_MS] = drain_own(worker, window_ms);
        part->counts[ORDER_OUTCOME] = OUTCOME_DRAINING;
    }
}

/* Whoever it is, it reaches the whole node. */
static int first_worker(const struct gateway *gateway, struct str name)
{
    return 0;
}

/* ---- on the node that was asked ---- */

static void answer_order(struct gather *gather, const struct gather_part *part)
{
    struct buf out = {0};
    bool is_draining = part->counts[ORDER_OUTCOME] == OUTCOME_DRAINING;
    buf_append_str(&out,
                   is_draining ? STR("{\"state\":\"draining\"") : STR("{\"state\":\"ready\""));
    json_write_u64_field(&out, STR("sessions"), part->counts[ORDER_SESSIONS]);
    if (is_draining) {
        json_write_u64_field(&out, STR("left_ms"), part->counts[ORDER_LEFT_MS]);
    }
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, is_draining ? 202 : 200, buf_str(&out));
    }
    buf_fini(&out);
}

static void finish_order(struct gather *gather)
{
    const struct gather_part *part = gather->part_count ? gather_part_at(gather, 0) : NULL;
    uint64_t outcome = part ? part->counts[ORDER_OUTCOME] : OUTCOME_NONE;
    if (outcome == OUTCOME_STOPPING) {
        http_answer_problem(gather->exchange, 409, "node_stopping",
                            "The node got SIGTERM and ends: there is no way back.");
    } else if (outcome == OUTCOME_NONE) {
        http_answer_retry(gather->exchange, 503, "node_silent",
                          "The node did not answer in time; asking again does no harm.", 1);
    } else {
        answer_order(gather, part);
    }
}

static const struct gather_kind order_kind = {.number = NODES_ORDER,
                                              .ask = obey,
                                              .fold = gather_fold,
                                              .finish = finish_order,
                                              .pick_worker = first_worker,
                                              .is_of_node = true};

const struct gather_kind *nodes_order_kind(void)
{
    return &order_kind;
}

static bool is_meant(const struct cluster_node *node, struct str name)
{
    char boot[9];
    snprintf(boot, sizeof(boot), "%08x", node->boot);
    return str_equal(str_of(node->name), name) || str_equal(str_of(boot), name);
}

/* Its boot; 0: answered already. */
static uint32_t choose_node(struct api_call *call, const struct cluster_node *nodes, uint32_t count,
                            bool is_known)
{
    uint32_t boot = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_meant(&nodes[i], call->names[0])) {
            continue;
        }
        if (boot) {
            api_refuse(call, 409, "node_ambiguous",
                       "Several nodes have this name: give the boot of GET /v1/nodes instead.");
            return 0;
        }
        boot = nodes[i].boot;
    }
    if (!boot && is_known) {
        api_refuse(call, 404, "node_not_found", "No node of the cluster has this name.");
    } else if (!boot) {
        http_answer_retry(call->exchange, 503, "node_silent",
                          "Who is in the cluster is not known right now.", 1);
    }
    return boot;
}

static uint32_t find_node(struct api_call *call)
{
    struct cluster_node *nodes = mem_alloc(sizeof(*nodes) * CLUSTER_MAX_NODES);
    if (!nodes) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
        return 0;
    }
    bool is_known;
    uint32_t count = cluster_nodes(call->worker->gateway->cluster, nodes, &is_known);
    uint32_t boot = choose_node(call, nodes, count, is_known);
    mem_free(nodes);
    return boot;
}

static void give_order(struct api_call *call, struct str order)
{
    uint32_t boot = find_node(call);
    if (boot) {
        gather_start_at(call, &order_kind, boot, order);
    }
}

/* No body is an empty object. False: answered. */
static bool read_window(struct api_call *call, bool *out_has, uint64_t *out_window_ms)
{
    struct json_field fields[] = {{.name = STR("window_ms")}};
    struct json_value body;
    size_t unknown;
    *out_has = false;
    *out_window_ms = 0;
    if (call->exchange->body.len == 0) {
        return true;
    }
    if (json_parse(&body, call->exchange->body, 2, NULL)) {
        api_refuse(call, 400, "bad_json", "The body is not JSON.");
        return false;
    }
    if (json_read_fields(body, fields, 1, &unknown) || unknown) {
        api_refuse(call, 422, "invalid_body", "The body is {} or {\"window_ms\": …}.");
        return false;
    }
    *out_has = fields[0].value.type != JSON_TYPE_NONE;
    if (*out_has && !json_u64(fields[0].value, WINDOW_MAX_MS, out_window_ms)) {
        api_refuse(call, 422, "invalid_window_ms", "`window_ms` is a number up to 3600000.");
        return false;
    }
    return true;
}

void nodes_handle_drain(struct api_call *call)
{
    char order[ORDER_BYTES];
    uint64_t window_ms;
    bool has_window;
    if (!read_window(call, &has_window, &window_ms)) {
        return;
    }
    snprintf(order, sizeof(order), "%llu", (unsigned long long)window_ms);
    give_order(call, has_window ? str_of(order) : ORDER_DRAIN);
}

void nodes_handle_resume(struct api_call *call)
{
    uint64_t window_ms;
    bool has_window;
    if (!read_window(call, &has_window, &window_ms)) {
        return;
    }
    if (has_window) {
        api_refuse(call, 422, "invalid_body", "A resume takes nothing but {}.");
        return;
    }
    give_order(call, ORDER_RESUME);
}
