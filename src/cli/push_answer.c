#include "cli/push_answer.h"

#include "cli/exit_code.h"
#include "cli/output.h"
#include "proto/json.h"

enum { TEXT_MAX = 512, NAME_MAX_BYTES = 1024 };

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

static int not_ours(const struct push_answer *answer, struct buf *words)
{
    buf_printf(words,
               "the answer (HTTP %d) is not tidegate's; --url must be the API listener, by default "
               "http://127.0.0.1:8081",
               answer->status);
    return EXIT_CODE_PROTOCOL;
}

static int judge_accepted(const struct push_answer *answer, struct json_value body, struct buf *out,
                          struct buf *words)
{
    struct json_value id, value;
    char scratch[NAME_MAX_BYTES];
    struct str text;
    if (!json_get(body, STR("id"), &id) || json_string_text(id, scratch, sizeof(scratch), &text)) {
        return not_ours(answer, words);
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

/* By status; the detail of the answer says what exactly was wrong. */
static const char *what_next(int status)
{
    switch (status) {
    case 400: return "correct the request";
    case 401:
        return "set TIDEGATE_API_KEY or --key-file to a key whose hash is in the configuration "
               "('tidegate key' makes one)";
    case 403: return "use a key that has the scope push";
    case 404:
    case 405: return "check the name, and that --url is the API listener";
    case 409:
    case 422: return "correct what the detail names";
    case 413: return "send less, or raise limits.message in the configuration";
    case 429: return "push more slowly";
    case 503: return "the same push with the same --id may be repeated";
    default: return "the gateway's log says more";
    }
}

static struct str get_text(struct json_value body, struct str name, char scratch[TEXT_MAX])
{
    struct json_value value;
    struct str text = {NULL, 0};
    if (json_get(body, name, &value)) {
        json_string_text(value, scratch, TEXT_MAX, &text);
    }
    return text;
}

static void write_refusal(const struct push_answer *answer, struct json_value body,
                          struct buf *words)
{
    char scratch[TEXT_MAX];
    struct str text = get_text(body, STR("code"), scratch);
    buf_printf(words, "refused with %d", answer->status);
    if (text.len > 0) {
        buf_printf(words, " %.*s", STR_ARG(text));
    }
    text = get_text(body, STR("detail"), scratch);
    if (text.len == 0) {
        text = get_text(body, STR("title"), scratch);
    }
    if (text.len > 0) {
        buf_printf(words, ": %.*s", STR_ARG(text));
    }
    uint64_t seconds;
    if (str_to_u64(answer->retry_after, 86400, &seconds)) {
        buf_printf(words, "; try again in %u s", (unsigned)seconds);
    }
    buf_printf(words, "; %s", what_next(answer->status));
}

static int judge_refused(const struct push_answer *answer, struct json_value body, struct buf *out,
                         struct buf *words)
{
    if (answer->as_json && body.type == JSON_TYPE_OBJECT) {
        output_append_line(out, body.raw);
    }
    write_refusal(answer, body, words);
    bool later = answer->status == 429 || answer->status == 503;
    return later ? EXIT_CODE_UNAVAILABLE : EXIT_CODE_REFUSED;
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
        return not_ours(answer, words);
    }
    return judge_refused(answer, body, out, words);
}
