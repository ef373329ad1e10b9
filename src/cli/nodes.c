/* `tidegate nodes`: who is in the cluster, and how each node is. */
#include "cli/api_client.h"
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/table.h"

static const char *const headings[] = {"NODE",      "BOOT",   "STATE",    "VERSION", ">UPTIME",
                                       ">SESSIONS", ">USERS", ">BUS LAG", ">WINDOW"};

static void add_duration(struct table *table, uint64_t ms)
{
    struct buf text = {0};
    table_append_duration(&text, ms);
    table_add(table, buf_str(&text));
    buf_fini(&text);
}

static void add_node(struct table *table, struct json_value node, uint64_t now_ms)
{
    char scratch[256];
    static const char *const texts[] = {"node", "boot", "state", "version"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        table_add(table, api_text(node, texts[i], scratch, sizeof(scratch)));
    }
    uint64_t started_ms = api_number(node, "started_at");
    add_duration(table, started_ms && started_ms < now_ms ? now_ms - started_ms : 0);
    table_addf(table, "%llu", (unsigned long long)api_number(node, "sessions"));
    table_addf(table, "%llu", (unsigned long long)api_number(node, "users"));
    table_addf(table, "%.1f ms", api_real(node, "bus_lag_ms"));
    add_duration(table, api_number(node, "window_age_ms"));
}

static void write_table(struct buf *out, struct json_value answer)
{
    struct table table = {headings, sizeof(headings) / sizeof(headings[0]), {0}};
    struct json_iter iter;
    struct json_value node;
    json_iter_init(&iter, api_member(answer, "nodes"));
    while (json_next(&iter, NULL, &node)) {
        add_node(&table, node, api_number(answer, "as_of"));
    }
    table_write(&table, out, table_may_color());
}

static int show(struct api_client *client)
{
    int code = api_client_call(client, "GET", STR("/v1/nodes"), (struct str){NULL, 0}, 0);
    if (code) {
        return code;
    }
    struct buf out = {0};
    if (client->json) {
        output_append_line(&out, client->body.raw);
    } else {
        write_table(&out, client->body);
    }
    code = output_end(&out, "nodes");
    if (!code && !client->json && !api_flag(client->body, "complete")) {
        args_complain("nodes", "the bus is away, so that other nodes can't be seen");
    }
    return code;
}

int cli_nodes(int argc, char **argv)
{
    struct api_client client = {.verb = "nodes", .scope = "admin"};
    const struct args_option table[] = {
        API_CLIENT_OPTIONS(&client),
        {"json", NULL, "print the server's answer as it came", .flag = &client.json},
    };
    const struct args_verb verb = {.name = "nodes",
                                   .synopsis = "[options]",
                                   .summary = "Lists the nodes of the cluster.",
                                   .options = table,
                                   .option_count = sizeof(table) / sizeof(table[0])};
    int code;
    if (!args_read(&verb, argc, argv, &code)) {
        return code;
    }
    code = api_client_open(&client) ? show(&client) : EXIT_CODE_USAGE;
    api_client_close(&client);
    return code;
}
