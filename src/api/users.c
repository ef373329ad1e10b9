#include "api/users.h"

#include <stdio.h>

#include "api/name_page.h"
#include "api/query_args.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

/* As it travels between nodes: never to be renumbered. */
enum { USERS_LIST = 29 };

enum { PART_HAS_MORE }; /* counts of a part */

/* ---- what is asked: "limit\nprefix\nafter"; no name has a line feed in it ---- */

struct wanted {
    uint64_t limit;
    struct str prefix, after;
};

static bool read_wanted(struct wanted *wanted, struct str text)
{
    struct str rest = text;
    struct str limit;
    if (!str_split(&rest, '\n', &limit) || !str_to_u64(limit, NAME_PAGE_MAX, &wanted->limit) ||
        wanted->limit == 0 || !str_split(&rest, '\n', &wanted->prefix)) {
        return false;
    }
    wanted->after = rest.ptr ? rest : STR("");
    return true;
}

/* ---- a worker's part: "sessions name", each ended by a NUL ---- */

/* As many as fit; the others are on the next page. */
static void write_page(struct buf *out, struct name_page *page, size_t most)
{
    char sessions[24];
    for (uint32_t i = 0; i < page->count; i++) {
        struct str name = page->items[i].name;
        int len = snprintf(sessions, sizeof(sessions), "%u ", (unsigned)page->items[i].count);
        if (out->len + (size_t)len + name.len + 1 > most) {
            name_page_cut(page, i);
            return;
        }
        buf_append(out, sessions, (size_t)len);
        buf_append_str(out, name);
        buf_append_char(out, '\0');
    }
}

struct walk {
    struct gather_part *part;
    struct name_page page;
    uint32_t next;
};

static void visit(void *arg, uint32_t user, struct str name)
{
    struct walk *walk = arg;
    if (!name_page_wants(&walk->page, name)) {
        return;
    }
    uint32_t sessions = shard_user_sessions(walk->part->worker->shard, user);
    if (sessions > 0) {
        name_page_add(&walk->page, name, sessions, 0);
    }
}

static void end_walk(struct walk *walk)
{
    struct gather_part *part = walk->part;
    name_page_sort(&walk->page, false);
    write_page(&part->text, &walk->page, SIZE_MAX);
    part->counts[PART_HAS_MORE] = walk->page.has_more;
    part->text.err = part->text.err ? part->text.err : walk->page.err;
    name_page_fini(&walk->page);
    mem_free(walk);
    gather_part_done(part);
}

static void run_slice(struct mail *mail)
{
    struct gather_part *part = MAIL_OWNER(mail, struct gather_part, mail);
    struct walk *walk = part->holder;
    walk->next = shard_walk_users(part->worker->shard, part->app, walk->next, USERS_SLICE, visit,
                                  walk);
    if (walk->next) {
        worker_post(part->worker, &part->mail);
    } else {
        end_walk(walk);
    }
}

static void ask(struct gather_part *part)
{
    struct wanted wanted;
    struct walk *walk = mem_alloc(sizeof(*walk));
    if (!walk || !read_wanted(&wanted, part->gather->name)) {
        part->text.err = walk ? part->text.err : ERR_NO_MEMORY;
        mem_free(walk);
        return;
    }
    *walk = (struct walk){.part = part, .next = 1};
    name_page_init(&walk->page, (uint32_t)wanted.limit, wanted.prefix, wanted.after);
    gather_part_hold(part);
    part->holder = walk;
    part->mail.run = run_slice;
    worker_post(part->worker, &part->mail);
}

/* ---- putting parts together ---- */

static bool next_item(struct str *rest, struct str *out_name, uint64_t *out_sessions)
{
    struct str item;
    struct str sessions;
    if (rest->len == 0 || !str_split(rest, '\0', &item) || !str_split(&item, ' ', &sessions)) {
        return false;
    }
    *out_name = item.ptr ? item : STR("");
    return str_to_u64(sessions, UINT32_MAX, out_sessions);
}

static void add_part(struct name_page *page, const struct gather_part *part)
{
    struct str rest = buf_str(&part->text);
    struct str name;
    uint64_t sessions;
    while (next_item(&rest, &name, &sessions)) {
        name_page_add(page, name, sessions, 0);
    }
}

static uint32_t items_of(const struct gather_part *part)
{
    uint32_t count = 0;
    struct str rest = buf_str(&part->text);
    struct str name;
    uint64_t sessions;
    while (next_item(&rest, &name, &sessions)) {
        count++;
    }
    return count;
}

/* A part that has more says nothing of who comes behind its last one. */
static void cut_behind(struct name_page *page, const struct gather_part *part)
{
    struct str rest = buf_str(&part->text);
    struct str name;
    struct str last = STR("");
    uint64_t sessions;
    uint32_t count = page->count;
    while (next_item(&rest, &name, &sessions)) {
        last = name;
    }
    while (count > 0 && str_compare(page->items[count - 1].name, last) > 0) {
        count--;
    }
    if (part->counts[PART_HAS_MORE]) {
        name_page_cut(page, count);
        page->has_more = true;
    }
}

/* Room for all: a user with sessions on two workers counts once, with both. */
static void merge(struct gather *gather, struct name_page *page)
{
    struct wanted wanted = {.limit = 1};
    uint32_t items = 1;
    read_wanted(&wanted, gather->name);
    for (uint32_t i = 0; i < gather->part_count; i++) {
        items += items_of(gather_part_at(gather, i));
    }
    name_page_init(page, items, STR(""), STR(""));
    for (uint32_t i = 0; i < gather->part_count; i++) {
        add_part(page, gather_part_at(gather, i));
    }
    name_page_sort(page, true);
    for (uint32_t i = 0; i < gather->part_count; i++) {
        cut_behind(page, gather_part_at(gather, i));
    }
    name_page_cut(page, (uint32_t)wanted.limit);
}

static void fold(struct gather *gather, struct gather_part *out)
{
    struct name_page page;
    const struct cluster *cluster = gather->asker->gateway->cluster; /* NULL: the gateway ends */
    merge(gather, &page);
    write_page(&out->text, &page, cluster ? cluster_reply_bytes(cluster) : 0);
    out->counts[PART_HAS_MORE] = page.has_more;
    out->text.err = out->text.err ? out->text.err : page.err;
    name_page_fini(&page);
}

/* ---- the answer ---- */

static void write_answer(struct buf *out, const struct gather *gather, const struct name_page *page)
{
    buf_append_str(out, STR("{\"users\":["));
    for (uint32_t i = 0; i < page->count; i++) {
        json_write_comma(out);
        buf_append_char(out, '{');
        json_write_string_field(out, STR("user"), page->items[i].name);
        json_write_u64_field(out, STR("sessions"), page->items[i].count);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
    if (page->has_more && page->count > 0) {
        json_write_string_field(out, STR("next"), page->items[page->count - 1].name);
    }
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), gather->is_complete);
    buf_append_char(out, '}');
}

static void finish(struct gather *gather)
{
    struct name_page page;
    struct buf out = {0};
    merge(gather, &page);
    write_answer(&out, gather, &page);
    out.err = out.err ? out.err : page.err;
    for (uint32_t i = 0; i < gather->worker_parts; i++) {
        out.err = out.err ? out.err : gather->parts[i].text.err;
    }
    if (buf_err(&out)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    name_page_fini(&page);
}

const struct gather_kind users_list_kind = {
    .number = USERS_LIST, .ask = ask, .fold = fold, .finish = finish};

void users_handle_list(struct api_call *call)
{
    char scratch[2][API_NAME_BYTES];
    struct str prefix = STR("");
    struct str after = STR("");
    uint64_t limit = USERS_PAGE;
    struct buf wanted = {0};
    if (!query_args_text(call, "prefix", "invalid_prefix", scratch[0], &prefix) ||
        !query_args_text(call, "after", "invalid_after", scratch[1], &after) ||
        !query_args_number(call, "limit", "invalid_limit", 1, NAME_PAGE_MAX, &limit)) {
        return;
    }
    buf_printf(&wanted, "%u\n", (unsigned)limit);
    buf_append_str(&wanted, prefix);
    buf_append_char(&wanted, '\n');
    buf_append_str(&wanted, after);
    if (buf_err(&wanted)) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    } else {
        gather_start(call, &users_list_kind, buf_str(&wanted));
    }
    buf_fini(&wanted);
}
