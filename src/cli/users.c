/* `tidegate users`: who is online, page by page, or the sessions of one user. */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/api_client.h"
#include "cli/api_request.h"
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/table.h"
#include "proto/uri.h"

enum { NAME_MAX_BYTES = 1024, PAGE = 1000 };

struct users {
    struct api_client client;
    const char *prefix;
    const char *user;
    const char *limit_text;
    uint64_t limit;
};

/* ---- the list ---- */

static const char *const list_headings[] = {"USER", ">SESSIONS"};

static int add_page(struct users *users, struct table *table, struct buf *out, uint64_t *shown)
{
    struct json_iter iter;
    struct json_value user;
    json_iter_init(&iter, api_member(users->client.body, "users"));
    while (*shown < users->limit && json_next(&iter, NULL, &user)) {
        char scratch[NAME_MAX_BYTES];
        (*shown)++;
        if (users->client.json) {
            output_append_line(out, user.raw);
            continue;
        }
        table_add(table, api_text(user, "user", scratch, sizeof(scratch)));
        table_addf(table, "%llu", (unsigned long long)api_number(user, "sessions"));
    }
    return buf_err(out) ? EXIT_CODE_INTERNAL : EXIT_CODE_OK;
}

static int ask_page(struct users *users, struct str after)
{
    struct buf path = {0};
    char limit[24];
    snprintf(limit, sizeof(limit), "%d", users->limit < PAGE ? (int)users->limit : PAGE);
    buf_append_str(&path, STR("/v1/users"));
    api_request_add_option(&path, "limit", str_of(limit));
    if (users->prefix) {
        api_request_add_option(&path, "prefix", str_of(users->prefix));
    }
    if (after.len > 0) {
        api_request_add_option(&path, "after", after);
    }
    int code = buf_err(&path) ? EXIT_CODE_INTERNAL
                              : api_client_call(&users->client, "GET", buf_str(&path),
                                                (struct str){NULL, 0}, 0);
    buf_fini(&path);
    return code;
}

/* What was printed is right, but a script must not take it for all. */
static int judge(bool complete)
{
    if (!complete) {
        args_complain("users", "a node did not answer in time, so that some may be missing");
    }
    return complete ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

static int list(struct users *users)
{
    struct table table = {list_headings, 2, {0}};
    struct buf out = {0};
    char scratch[NAME_MAX_BYTES];
    char next[NAME_MAX_BYTES];
    struct str after = STR("");
    uint64_t shown = 0;
    bool complete = true;
    int code;
    do {
        code = ask_page(users, after);
        code = code ? code : add_page(users, &table, &out, &shown);
        if (code) {
            break;
        }
        complete = complete && api_flag(users->client.body, "complete");
        after = api_text(users->client.body, "next", scratch, sizeof(scratch));
        memcpy(next, after.ptr, after.len); /* the answer goes with the next call */
        after.ptr = next;
    } while (after.len > 0 && shown < users->limit);
    if (!code && !users->client.json) {
        table_write(&table, &out, table_may_color());
    }
    buf_fini(&table.cells);
    code = code ? code : output_end(&out, "users");
    buf_fini(&out);
    if (!code && after.len > 0) {
        args_complain("users", "there are more; narrow them down by a prefix, or raise --limit");
    }
    return code ? code : judge(complete);
}

/* ---- one user ---- */

static const char *const session_headings[] = {"SESSION", "TRANSPORT", "PROTOCOL",
                                               "DEVICE",  ">SINCE",    ">QUEUED"};

static void add_session(struct table *table, struct json_value session, uint64_t now_ms)
{
    static const char *const texts[] = {"sid", "transport", "protocol", "device"};
    char scratch[NAME_MAX_BYTES];
    struct buf since = {0};
    uint64_t since_ms = api_number(session, "since_ms");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        table_add(table, api_text(session, texts[i], scratch, sizeof(scratch)));
    }
    table_append_duration(&since, now_ms > since_ms ? now_ms - since_ms : 0);
    table_add(table, buf_str(&since));
    table_addf(table, "%llu", (unsigned long long)api_number(session, "queued_bytes"));
    buf_fini(&since);
}

static void write_user(struct buf *out, struct json_value answer)
{
    struct table table = {session_headings, 6, {0}};
    struct json_iter iter;
    struct json_value session;
    bool online = api_flag(answer, "online");
    buf_append_str(out, online ? STR("online") : STR("offline"));
    buf_printf(out, ", %llu session%s\n", (unsigned long long)api_number(answer, "session_count"),
               api_number(answer, "session_count") == 1 ? "" : "s");
    json_iter_init(&iter, api_member(answer, "sessions"));
    while (json_next(&iter, NULL, &session)) {
        add_session(&table, session, api_number(answer, "as_of"));
    }
    if (table.cells.len > 0) {
        table_write(&table, out, table_may_color());
    }
}

static int show_user(struct users *users)
{
    struct buf path = {0};
    struct buf out = {0};
    buf_append_str(&path, STR("/v1/users/"));
    uri_encode(&path, str_of(users->user));
    int code = buf_err(&path) ? EXIT_CODE_INTERNAL
                              : api_client_call(&users->client, "GET", buf_str(&path),
                                                (struct str){NULL, 0}, 0);
    buf_fini(&path);
    if (code) {
        return code;
    }
    if (users->client.json) {
        output_append_line(&out, users->client.body.raw);
    } else {
        write_user(&out, users->client.body);
    }
    code = output_end(&out, "users");
    return code ? code : judge(api_flag(users->client.body, "complete"));
}

/* ---- arguments ---- */

static const char *check(struct users *users)
{
    if (users->user && (users->prefix || !*users->user)) {
        return "give a prefix of ids, or one user's id with --user, not both";
    }
    users->limit = 1000;
    if (users->limit_text && !args_number(users->limit_text, 1, 1000000, &users->limit)) {
        return "--limit is a number from 1 to 1000000";
    }
    return NULL;
}

int cli_users(int argc, char **argv)
{
    struct users users = {.client = {.verb = "users", .scope = "read, monitor or admin"}};
    const struct args_option table[] = {
        {"user", "U", "the sessions of this user", .text = &users.user},
        {"limit", "N", "of the list (default 1000)", .text = &users.limit_text},
        API_CLIENT_OPTIONS(&users.client),
        {"json", NULL, "one JSON object a user, one a line; of --user the answer as it came",
         .flag = &users.client.json},
    };
    const struct args_verb verb = {.name = "users",
                                   .synopsis = "[PREFIX] [options]",
                                   .summary = "Lists the users that are online, or shows one.",
                                   .options = table,
                                   .option_count = sizeof(table) / sizeof(table[0]),
                                   .operand = &users.prefix,
                                   .operand_is_optional = true};
    int code;
    if (!args_read(&verb, argc, argv, &code)) {
        return code;
    }
    const char *mistake = check(&users);
    if (mistake) {
        args_complain("users", "%s", mistake);
        return EXIT_CODE_USAGE;
    }
    code = !api_client_open(&users.client) ? EXIT_CODE_USAGE
           : users.user                    ? show_user(&users)
                                           : list(&users);
    api_client_close(&users.client);
    return code;
}
