/* What outlives the window: kept as it arrives, and told again by the cluster's first node before
 * the window has lost it, so that a node that starts later reads it back. An EVENT_AGAIN carries
 * the position where the event stood first (hi 8, lo 8, little-endian) and the event as it was. */
#include "base/err.h"
#include "base/mem.h"
#include "core/hub_tickets_private.h"
#include "core/shard.h"

enum {
    FIRST_LEN = 16,
    AGAIN_AT_A_TIME = 256, /* on their way: what is behind waits for the next tick */
    AGAIN_DEADLINE_MS = 5000,
    SHORTEST_MS = 300, /* between two times, however small the window is */
    UNLIMITED_MS = 300 * 1000,
};

/* ---- which events ---- */

static uint64_t expires_of_part(const struct event *event)
{
    return event->time_ms + SHARD_GRANT_LIFE_MS;
}

static uint64_t expires_of_revocation(const struct event *event)
{
    return event->time_ms + event->header.ttl_ms;
}

/* Events that go to workers, too. Those of tickets: see hub_tickets.c. */
static const struct kept_rule {
    enum event_kind kind;
    enum kept_kind as;
    uint64_t (*expires_ms)(const struct event *event); /* wall */
} rules[] = {
    {EVENT_PART, KEPT_REVOCATION, expires_of_part},
    {EVENT_REVOCATION, KEPT_REVOCATION, expires_of_revocation},
};

static const struct kept_rule *rule_of(enum event_kind kind)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].kind == kind) {
            return &rules[i];
        }
    }
    return NULL;
}

static void on_expire(void *owner, struct kept_entry *entry)
{
    hub_ticket_on_expire(owner, entry);
}

int hub_kept_create(struct hub *hub)
{
    struct kept_options options = {.budgets = {[KEPT_RESULTS] = hub->options.kept_results,
                                               [KEPT_TICKETS] = hub->options.kept_tickets,
                                               [KEPT_OTHERS] = hub->options.kept_others},
                                   .hash_key = hub->options.space.keys,
                                   .on_expire = on_expire,
                                   .owner = hub};
    if (!hub->options.ticket_messages) {
        hub->options.ticket_messages = HUB_TICKET_MESSAGES;
    }
    return kept_create(&hub->kept, &options);
}

/* For how long the window keeps what comes now: its age, or less when its bytes are what bounds it.
 */
static uint64_t window_retains_ms(struct hub *hub)
{
    uint64_t most = hub->options.window_age_ms ? hub->options.window_age_ms : UNLIMITED_MS;
    bool is_full = window_bytes(hub->window) >= hub->options.window_bytes / 10 * 9;
    uint64_t age = is_full ? window_age_ms(hub->window, hub->now_ms) : most;
    return age < most ? age : most;
}

/* encoded and event stay the arrival's. */
struct kept_offer hub_kept_offer(struct hub *hub, const struct arrival *arrival,
                                 enum kept_kind kind, uint64_t key, uint64_t expires_ms)
{
    return (struct kept_offer){.encoded = arrival->encoded,
                               .event = &arrival->event,
                               .queue = arrival->queue,
                               .first = arrival->pos,
                               .kind = kind,
                               .key = key,
                               .expires_ms = expires_ms,
                               .now_ms = hub->now_ms,
                               .wall_ms = hub_wall_ms(hub),
                               .age_ms = arrival->age_ms,
                               .is_due = arrival->age_ms > 0 &&
                                         arrival->age_ms >= window_retains_ms(hub) / 3};
}

/* KEPT_EXPIRED for what is of no such kind. */
enum kept_verdict hub_keep(struct hub *hub, const struct arrival *arrival)
{
    const struct event *event = &arrival->event;
    const struct kept_rule *rule = rule_of(event->kind);
    struct kept_entry *entry;
    if (!rule) {
        return KEPT_EXPIRED;
    }
    struct kept_offer offer = hub_kept_offer(hub, arrival, rule->as, event->header.key,
                                             rule->expires_ms(event));
    return kept_take(hub->kept, &offer, &entry);
}

/* ---- room ---- */

_Static_assert(sizeof(((struct publish *)0)->kept_bytes) == KEPT_BUDGETS * sizeof(uint64_t),
               "a publish has room for each budget");

static enum kept_budget budget_of(enum event_kind kind)
{
    switch (kind) {
    case EVENT_MESSAGE: return KEPT_RESULTS;
    case EVENT_CLAIM:
    case EVENT_TICKET_END:
    case EVENT_REVOKE: return KEPT_TICKETS;
    default: return KEPT_OTHERS;
    }
}

/* Of a ticket that has its claim, or is over, no further one is kept: pages reload. */
static bool is_kept_already(const struct hub *hub, const struct event *event)
{
    const struct hub_ticket *ticket = event->kind == EVENT_CLAIM
                                          ? ticket_find(hub, event->header.key)
                                          : NULL;
    return ticket && (ticket->claim || ticket->end);
}

/* A message for tickets is kept once for each. */
static int weigh_event(const struct hub *hub, const struct buf *encoded, struct event *out_event,
                       uint64_t *bytes)
{
    size_t skip;
    uint32_t times = 0;
    ssize_t len = event_decode(out_event, encoded->data, encoded->len, &skip);
    ASSERT(len > 0);
    if (out_event->kind != EVENT_MESSAGE) {
        *bytes += is_kept_already(hub, out_event) ? 0 : kept_bytes(encoded->len);
        return 0;
    }
    int err = hub_ticket_admit(hub, out_event, &times);
    *bytes += times * kept_bytes(encoded->len);
    if (err == ERR_TOO_MANY) {
        hub_count(&kept_get_stats(hub->kept)->refused[KEPT_RESULTS], 1);
    }
    return err;
}

/* 0: it may go; then what it takes is set aside until hub_kept_release. */
int hub_kept_admit(struct hub *hub, struct publish *publish)
{
    struct event event;
    uint64_t bytes = 0;
    for (uint32_t i = 0; publish->keeps && i < publish->part_count; i++) {
        int err = weigh_event(hub, &publish->parts[i].event, &event, &bytes);
        if (err) {
            return err;
        }
    }
    if (!bytes) {
        return 0;
    }
    enum kept_budget budget = budget_of(event.kind);
    if (!kept_reserve(hub->kept, budget, event.header.app, bytes)) {
        return ERR_TOO_MANY;
    }
    publish->kept_app = event.header.app;
    publish->kept_bytes[budget] = bytes;
    return 0;
}

void hub_kept_release(struct hub *hub, struct publish *publish)
{
    for (int budget = 0; budget < KEPT_BUDGETS; budget++) {
        if (publish->kept_bytes[budget]) {
            kept_release(hub->kept, (enum kept_budget)budget, publish->kept_app,
                         publish->kept_bytes[budget]);
            publish->kept_bytes[budget] = 0;
        }
    }
}

/* ---- again: in ---- */

/* out_inner gets the event and its first position. False: it makes no sense. */
bool hub_unwrap(struct hub *hub, const struct event *again, struct arrival *out_inner)
{
    size_t skip;
    if (again->data.len <= FIRST_LEN) {
        return false;
    }
    struct str encoded = str_make(again->data.ptr + FIRST_LEN, again->data.len - FIRST_LEN);
    memcpy(&out_inner->pos, again->data.ptr, FIRST_LEN);
    out_inner->encoded = encoded;
    ssize_t len = event_decode(&out_inner->event, (const uint8_t *)encoded.ptr, encoded.len, &skip);
    return len == (ssize_t)encoded.len && !event_kind_is_of_nodes(out_inner->event.kind) &&
           (out_inner->event.key_tag == hub->options.space.tag || hub_rekey(hub, out_inner));
}

/* ---- again: out ---- */

struct told {
    struct hub *hub;
    uint64_t place; /* the entry's */
};

static void on_told(struct publish *publish)
{
    struct told *told = publish->owner;
    told->hub->told_again--;
    if (publish->verdict != PUBLISH_ACCEPTED) {
        kept_not_told(told->hub->kept, told->place);
    }
    mem_free(told);
    publish_destroy(publish);
}

static int wrap(struct buf *out, const struct message *message)
{
    struct str encoded = message_encoded(message);
    buf_append(out, &message->pos, FIRST_LEN);
    size_t at = out->len;
    buf_append_str(out, encoded);
    if (!buf_err(out)) {
        event_add_flag(out->data + at, EVENT_IS_AGAIN);
    }
    return buf_err(out);
}

static int send_again(struct hub *hub, const struct kept_entry *entry, struct told *told)
{
    struct buf body = {0};
    int err = told ? wrap(&body, entry->message) : ERR_NO_MEMORY;
    if (!err) {
        hub->told_again++;
        *told = (struct told){hub, entry->place};
        err = cluster_tell_again(hub->cluster, entry->message->queue, buf_str(&body),
                                 hub->now_ms + AGAIN_DEADLINE_MS, on_told, told);
        hub->told_again -= err != 0;
    }
    buf_fini(&body);
    return err;
}

/* False: not now. */
static bool tell_again(struct hub *hub, const struct kept_entry *entry)
{
    struct told *told = mem_alloc(sizeof(*told));
    uint64_t place = entry->place;
    if (!send_again(hub, entry, told)) {
        return true;
    }
    mem_free(told);
    kept_not_told(hub->kept, place);
    return false;
}

/* The first node does it in time; were it not to, the others would, later. */
static uint64_t interval_ms(struct hub *hub, uint64_t retain_ms)
{
    uint64_t third = retain_ms / 3;
    uint64_t interval = cluster_leads(hub->cluster) ? third : 2 * third;
    return interval > SHORTEST_MS ? interval : SHORTEST_MS;
}

void hub_kept_tick(struct hub *hub)
{
    kept_advance(hub->kept, hub->now_ms);
    if (!hub->cluster || !cluster_is_shared(hub->cluster) || !cluster_may_serve(hub->cluster) ||
        !hub_bus_is_up(hub)) {
        return;
    }
    uint64_t retain_ms = window_retains_ms(hub);
    uint64_t interval = interval_ms(hub, retain_ms);
    for (uint32_t i = 0; i < AGAIN_AT_A_TIME && hub->told_again < AGAIN_AT_A_TIME &&
                         hub->waiting_bytes < hub->options.backlog_bytes / 4;
         i++) {
        struct kept_entry *entry = kept_next_due(hub->kept, hub->now_ms, hub_wall_ms(hub), interval,
                                                 retain_ms);
        if (!entry || !tell_again(hub, entry)) {
            return;
        }
    }
}
