#include "api/recent.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/query_args.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* As it travels between nodes: never to be renumbered. The name of the gather is the limit. */
enum { RECENT_ERRORS = 28 };

/* `{"ts":"2026-01-31T12:00:00.123Z"` begins each line. */
enum { TIME_AT = 7, TIME_LEN = 24 };

/* ---- on each node ---- */

/* The log is the process's: any worker knows it. */
static int first_worker(const struct gateway *gateway, struct str name)
{
    return 0;
}

static void ask(struct gather_part *part)
{
    uint64_t limit = RECENT_LIMIT;
    str_to_u64(part->gather->name, RECENT_LIMIT_MAX, &limit);
    log_recent_lines(&part->text, limit);
}

/* The oldest are left out when there are more than a reply holds. */
static void fold(struct gather *gather, struct gather_part *out)
{
    struct str lines = buf_str(&gather->parts[0].text);
    size_t max = cluster_reply_bytes(gather->asker->gateway->cluster);
    size_t len = lines.len < max ? lines.len : max;
    while (len > 0 && lines.ptr[len - 1] != '\0') {
        len--;
    }
    buf_append(&out->text, lines.ptr, len);
}

/* ---- all together ---- */

static uint32_t count_lines(struct gather *gather)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        struct str rest = buf_str(&gather_part_at(gather, i)->text);
        struct str line;
        while (rest.ptr && str_split(&rest, '\0', &line)) {
            count++;
        }
    }
    return count;
}

/* What another node says is looked at before it is shown. */
static bool is_line(struct str line)
{
    struct json_value value;
    return line.len > TIME_AT + TIME_LEN && str_starts_with(line, STR("{\"ts\":\"")) &&
           json_parse(&value, line, 2, NULL) == 0;
}

static uint32_t collect(struct gather *gather, struct str *lines)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        struct str rest = buf_str(&gather_part_at(gather, i)->text);
        while (rest.ptr && str_split(&rest, '\0', &lines[count])) {
            count += is_line(lines[count]);
        }
    }
    return count;
}

/* Of one millisecond, as the node has them: they lie one behind the other. */
static int newest_first(const void *a, const void *b)
{
    const struct str *left = a;
    const struct str *right = b;
    int by_time = memcmp(right->ptr + TIME_AT, left->ptr + TIME_AT, TIME_LEN);
    return by_time ? by_time : (left->ptr > right->ptr) - (left->ptr < right->ptr);
}

static void write_answer(struct buf *out, const struct gather *gather, const struct str *lines,
                         uint32_t count)
{
    uint64_t limit = RECENT_LIMIT;
    str_to_u64(gather->name, RECENT_LIMIT_MAX, &limit);
    buf_append_str(out, STR("{\"errors\":["));
    for (uint32_t i = 0; i < count && i < limit; i++) {
        buf_append_str(out, i ? STR(",") : STR(""));
        buf_append_str(out, lines[i]);
    }
    buf_append_char(out, ']');
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), gather->is_complete);
    buf_append_char(out, '}');
}

static void finish(struct gather *gather)
{
    struct buf out = {0};
    struct str *lines = mem_alloc(sizeof(*lines) * (count_lines(gather) + 1));
    if (lines) {
        uint32_t count = collect(gather, lines);
        qsort(lines, count, sizeof(*lines), newest_first);
        write_answer(&out, gather, lines, count);
    }
    bool is_short = gather->worker_parts && buf_err(&gather->parts[0].text);
    if (!lines || buf_err(&out) || is_short) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    mem_free(lines);
}

const struct gather_kind recent_errors_kind = {.number = RECENT_ERRORS,
                                               .ask = ask,
                                               .fold = fold,
                                               .finish = finish,
                                               .pick_worker = first_worker,
                                               .is_of_node = true};

void recent_handle_errors(struct api_call *call)
{
    uint64_t limit = RECENT_LIMIT;
    char name[24];
    if (query_args_number(call, "limit", "invalid_limit", 1, RECENT_LIMIT_MAX, &limit)) {
        snprintf(name, sizeof(name), "%llu", (unsigned long long)limit);
        gather_start(call, &recent_errors_kind, str_of(name));
    }
}
