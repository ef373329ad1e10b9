/* What a push is answered with. */
#include "api/push.h"

#include "base/err.h"

void push_write_pos(struct buf *out, uint32_t queue, struct bus_pos at)
{
    char pos[MESSAGE_POS_MAX];
    size_t len = message_format_pos(pos, at);
    buf_append_char(out, '"');
    buf_append_u64(out, queue);
    buf_append_char(out, ':');
    buf_append(out, pos, len);
    buf_append_char(out, '"');
}

static void write_positions(struct buf *out, const struct publish *publish)
{
    json_write_key(out, STR("pos"));
    if (publish->part_count == 1) {
        push_write_pos(out, publish->parts[0].queue, publish->parts[0].pos);
        return;
    }
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < publish->part_count; i++) {
        json_write_comma(out);
        push_write_pos(out, publish->parts[i].queue, publish->parts[i].pos);
    }
    buf_append_char(out, ']');
}

static void write_receipt(struct buf *out, const struct push_outcome *outcome)
{
    buf_printf(out,
               ",\"receipt\":{\"complete\":%s,\"nodes\":{\"expected\":%u,\"reported\":%u},"
               "\"users_online\":%u,\"sessions\":{\"matched\":%u,\"written\":%u,\"acked\":%u,"
               "\"dropped\":%u}}",
               outcome->is_complete ? "true" : "false", outcome->nodes_expected,
               outcome->nodes_reported, outcome->users_online, outcome->matched, outcome->written,
               outcome->acked, outcome->dropped);
}

void push_write_answer(struct buf *out, const struct push_task *task,
                       const struct push_outcome *outcome)
{
    json_write_string_field(out, STR("id"), task->id);
    write_positions(out, task->publish);
    if (outcome->verdict == PUBLISH_REPLAYED) {
        json_write_bool_field(out, STR("replayed"), true);
    } else if (outcome->has_receipt) {
        write_receipt(out, outcome);
    }
}

int push_status(const struct push_outcome *outcome, const char **out_code, const char **out_detail)
{
    *out_code = NULL;
    *out_detail = NULL;
    switch (outcome->verdict) {
    case PUBLISH_ACCEPTED: return outcome->has_receipt && outcome->is_complete ? 200 : 202;
    case PUBLISH_REPLAYED: return 202;
    case PUBLISH_CONFLICT:
        *out_code = "id_conflict";
        *out_detail = "The same id came before with another body.";
        return 422;
    case PUBLISH_FAILED: break;
    }
    bool is_partial = outcome->accepted_parts > 0;
    if (outcome->err == ERR_TOO_LARGE && !is_partial) {
        *out_code = "too_large_for_bus";
        *out_detail = "The bus does not carry so large a message.";
        return 413;
    }
    if (outcome->err == ERR_CLOSED) {
        *out_code = "ticket_done";
        *out_detail = "A ticket of the push is over, or has its final message already.";
        return 410;
    }
    if (outcome->err == ERR_TOO_MANY) {
        *out_code = outcome->is_message ? "ticket_budget" : "kept_budget";
        *out_detail = "As much as may waits already: limits.ticket_results, "
                      "limits.ticket_messages, limits.ticket_claims or limits.kept.";
        return 429;
    }
    *out_code = is_partial ? "bus_partial" : "bus_unavailable";
    *out_detail = is_partial ? "The bus has a part of the push: some targets may get it. Try again "
                               "with the same id."
                             : "The bus did not take the push. Try again.";
    return 503;
}

bool push_answer_failure(struct push_task *task, const struct push_outcome *outcome)
{
    const char *code;
    const char *detail;
    int status = push_status(outcome, &code, &detail);
    if (code && (status == 503 || status == 429)) {
        http_answer_retry(task->owner, status, code, detail, 1);
    } else if (code) {
        http_answer_problem(task->owner, status, code, detail);
    }
    return code != NULL;
}
