#include "cli/refusal.h"

#include "cli/exit_code.h"

enum { TEXT_MAX = 1024 };

int refusal_not_ours(int status, struct buf *words)
{
    buf_printf(words,
               "the answer (HTTP %d) is not tidegate's; --url must be the API listener, by default "
               "http://127.0.0.1:8081",
               status);
    return EXIT_CODE_PROTOCOL;
}

/* By status; the detail of the answer says what exactly was wrong. */
static const char *what_next(int status, bool is_push)
{
    switch (status) {
    case 400: return "correct the request";
    case 401:
        return "set TIDEGATE_API_KEY or --key-file to a key whose hash is in the configuration "
               "('tidegate key' makes one)";
    case 404:
    case 405: return "check the name, and that --url is the API listener";
    case 409:
    case 422: return "correct what the detail names";
    case 413: return "send less, or raise limits.message in the configuration";
    case 429: return is_push ? "push more slowly" : "ask more slowly";
    case 503:
        return is_push ? "the same push with the same --id may be repeated"
                       : "the same may be asked again";
    default: return "the gateway's log says more";
    }
}

static void write_next(const struct refusal *refusal, struct buf *words)
{
    if (refusal->status == 403) {
        buf_printf(words, "; use a key that has the scope %s", refusal->scope);
    } else {
        buf_printf(words, "; %s", what_next(refusal->status, refusal->is_push));
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

int refusal_explain(const struct refusal *refusal, struct buf *words)
{
    char scratch[TEXT_MAX];
    struct str text = get_text(refusal->body, STR("code"), scratch);
    buf_printf(words, "refused with %d", refusal->status);
    if (text.len > 0) {
        buf_printf(words, " %.*s", STR_ARG(text));
    }
    text = get_text(refusal->body, STR("detail"), scratch);
    if (text.len == 0) {
        text = get_text(refusal->body, STR("title"), scratch);
    }
    if (text.len > 0) {
        buf_printf(words, ": %.*s", STR_ARG(text));
    }
    uint64_t seconds;
    if (str_to_u64(refusal->retry_after, 86400, &seconds)) {
        buf_printf(words, "; try again in %u s", (unsigned)seconds);
    }
    write_next(refusal, words);
    bool later = refusal->status == 429 || refusal->status == 503;
    return later ? EXIT_CODE_UNAVAILABLE : EXIT_CODE_REFUSED;
}
