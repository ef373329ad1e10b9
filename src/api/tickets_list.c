#include "api/tickets_list.h"

#include "api/name_page.h"
#include "api/query_args.h"
#include "base/clock.h"
#include "base/mem.h"
#include "core/ticket_id.h"
#include "core/tickets.h"
#include "proto/json.h"

/* To the hub and back, a slice each time. */
struct listing {
    struct mail mail;
    struct worker *worker;
    struct http_exchange *exchange;
    uint32_t app;
    struct name_page page;
    size_t next, places;
    char after[API_NAME_BYTES];
};

static void free_listing(struct listing *listing)
{
    name_page_fini(&listing->page);
    mem_free(listing);
}

static void refuse_for_memory(struct http_exchange *exchange)
{
    http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
}

/* ---- the answer ---- */

static void write_ticket(struct buf *out, const struct name_page_item *item)
{
    json_write_comma(out);
    buf_append_char(out, '{');
    json_write_string_field(out, STR("id"), item->name);
    json_write_string_field(out, STR("state"), item->time_ms ? STR("claimed") : STR("waiting"));
    json_write_u64_field(out, STR("messages"), item->count);
    if (item->time_ms) {
        json_write_u64_field(out, STR("claimed_at"), item->time_ms);
    }
    json_write_u64_field(out, STR("expires_at"), ticket_id_expires_ms(item->name));
    buf_append_char(out, '}');
}

static void write_answer(struct buf *out, const struct name_page *page)
{
    buf_append_str(out, STR("{\"tickets\":["));
    for (uint32_t i = 0; i < page->count; i++) {
        write_ticket(out, &page->items[i]);
    }
    buf_append_char(out, ']');
    if (page->has_more && page->count > 0) {
        json_write_string_field(out, STR("next"), page->items[page->count - 1].name);
    }
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    buf_append_char(out, '}');
    out->err = out->err ? out->err : page->err;
}

static void answer(struct listing *listing)
{
    struct buf out = {0};
    name_page_sort(&listing->page, false);
    write_answer(&out, &listing->page);
    if (buf_err(&out)) {
        refuse_for_memory(listing->exchange);
    } else {
        http_answer_json(listing->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    free_listing(listing);
}

/* ---- the walk ---- */

static void run_slice(struct mail *mail);

/* Without a hub any more there is nobody to ask. */
static void run_back(struct mail *mail)
{
    struct listing *listing = MAIL_OWNER(mail, struct listing, mail);
    if (listing->next == 0) {
        answer(listing);
    } else if (listing->worker->gateway->cluster) {
        listing->mail.run = run_slice;
        worker_send_to_hub(listing->worker, &listing->mail);
    } else {
        refuse_for_memory(listing->exchange);
        free_listing(listing);
    }
}

static void visit(void *arg, const struct ticket_row *row)
{
    struct listing *listing = arg;
    name_page_add(&listing->page, row->id, row->messages, row->claimed_ms);
}

/* Inside the hub's gate. A table of another size has all in other places. */
static void run_slice(struct mail *mail)
{
    struct listing *listing = MAIL_OWNER(mail, struct listing, mail);
    struct hub *hub = listing->worker->gateway->hub;
    size_t places = hub_ticket_places(hub);
    listing->next = places == listing->places ? listing->next : places;
    listing->places = places;
    listing->next = hub_ticket_walk(hub, listing->app, listing->next, TICKETS_SLICE, visit,
                                    listing);
    listing->mail.run = run_back;
    hub_give_back(hub, listing->worker->index, &listing->mail);
}

void tickets_handle_list(struct api_call *call)
{
    uint64_t limit = TICKETS_PAGE;
    struct str after = STR("");
    struct listing *listing = mem_zalloc(sizeof(*listing));
    if (!listing) {
        refuse_for_memory(call->exchange);
        return;
    }
    if (!query_args_text(call, "after", "invalid_after", listing->after, &after) ||
        !query_args_number(call, "limit", "invalid_limit", 1, NAME_PAGE_MAX, &limit)) {
        free_listing(listing);
        return;
    }
    listing->worker = call->worker;
    listing->exchange = call->exchange;
    listing->app = shard_app_hash(call->worker->shard, call->tenant->id);
    listing->mail.run = run_slice;
    name_page_init(&listing->page, (uint32_t)limit, STR(""), after);
    worker_send_to_hub(call->worker, &listing->mail);
}
