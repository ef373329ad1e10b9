#include "cli/push_answer.h"

#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/refusal.h"
#include "proto/json.h"

enum { NAME_MAX_BYTES = 1024 };

/* --- Accepted --- */

static void write_count(struct buf *out, struct json_value counts, struct str name)
{
    struct json_value value;
    if (json_get(counts, name, &value) && value.type == JSON_TYPE_NUMBER) {
        buf_append_char(out, ' ');
        buf_append_str(out, name);
        buf_append_char(out, ' ');
        buf_append_str(out, value.raw);
    }
}

static void write_receipt(struct buf *line, struct json_value receipt)
{
    struct json_value value;
    if (json_get(receipt, STR("sessions"), &value)) {
        write_count(line, value, STR("matched"));
        write_count(line, value, STR("written"));
        write_count(line, value, STR("acked"));
        write_count(line, value, STR("dropped"));
    }
    if (json_get(receipt, STR("complete"), &value) && value.type == JSON_TYPE_FALSE) {
        buf_append_str(line, STR(" (incomplete: not all was counted in time)"));
    }
}

static int judge_accepted(const struct push_answer *answer, struct json_value body, struct buf *out,
                          struct buf *words)
{
    struct json_value id, value;
    char scratch[NAME_MAX_BYTES];
    struct str text;
    if (!json_get(body, STR("id"), &id) || json_string_text(id, scratch, sizeof(scratch), &text)) {
        return refusal_not_ours(answer->status, words);
    }
    if (answer->as_json) {
        output_append_line(out, body.raw);
        return EXIT_CODE_OK;
    }
    struct buf line = {0};
    buf_append_str(&line, text);
    if (json_get(body, STR("replayed"), &value) && value.type == JSON_TYPE_TRUE) {
        buf_append_str(&line, STR(" (was accepted before)"));
    }
    if (json_get(body, STR("receipt"), &value)) {
        write_receipt(&line, value);
    }
    bool ok = buf_err(&line) == 0;
    output_append_line(out, buf_str(&line));
    buf_fini(&line);
    return ok ? EXIT_CODE_OK : EXIT_CODE_INTERNAL;
}

/* --- Refused --- */

static int judge_refused(const struct push_answer *answer, struct json_value body, struct buf *out,
                         struct buf *words)
{
    if (answer->as_json && body.type == JSON_TYPE_OBJECT) {
        output_append_line(out, body.raw);
    }
    const struct refusal refusal = {answer->status, body, answer->retry_after, "push", true};
    return refusal_explain(&refusal, words);
}

int push_answer_judge(const struct push_answer *answer, struct buf *out, struct buf *words)
{
    struct json_value body = {0};
    if (json_parse(&body, answer->body, JSON_MAX_DEPTH, NULL) || body.type != JSON_TYPE_OBJECT) {
        body = (struct json_value){0};
    }
    if (answer->status >= 200 && answer->status < 300) {
        return judge_accepted(answer, body, out, words);
    }
    if (answer->status < 400) {
        return refusal_not_ours(answer->status, words);
    }
    return judge_refused(answer, body, out, words);
}
