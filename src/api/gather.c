#include "api/gather.h"

#include "base/mem.h"

static void free_gather(struct gather *gather)
{
    for (uint32_t i = 0; i < gather->part_count; i++) {
        mem_account(MEM_HTTP, -(int64_t)gather->parts[i].accounted);
        buf_fini(&gather->parts[i].text);
    }
    mem_free((char *)gather->name.ptr);
    mem_free(gather);
}

static void run_back(struct mail *mail)
{
    struct gather_part *part = MAIL_OWNER(mail, struct gather_part, mail);
    struct gather *gather = part->gather;
    if (--gather->open == 0) {
        gather->finish(gather);
        free_gather(gather);
    }
}

static void run_ask(struct mail *mail)
{
    struct gather_part *part = MAIL_OWNER(mail, struct gather_part, mail);
    part->gather->ask(part);
    part->accounted = sizeof(*part) + part->text.cap;
    mem_account(MEM_HTTP, (int64_t)part->accounted);
    part->mail.run = run_back;
    worker_post(part->gather->asker, &part->mail);
}

static struct gather *create(struct api_call *call, uint32_t parts, struct str name)
{
    struct gather *gather = mem_zalloc(sizeof(*gather) + sizeof(struct gather_part) * parts);
    char *copy = mem_strndup(name.ptr, name.len);
    if (!gather || !copy) {
        mem_free(gather);
        mem_free(copy);
        return NULL;
    }
    gather->asker = call->worker;
    gather->exchange = call->exchange;
    gather->app = call->tenant->id;
    gather->name = str_make(copy, name.len);
    gather->part_count = parts;
    gather->open = parts;
    return gather;
}

void gather_start(struct api_call *call, int only, struct str name,
                  void (*ask)(struct gather_part *part), void (*finish)(struct gather *gather))
{
    struct gateway *gateway = call->worker->gateway;
    struct gather *gather = create(call, only >= 0 ? 1 : gateway->worker_count, name);
    if (!gather) {
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
        return;
    }
    gather->ask = ask;
    gather->finish = finish;
    uint32_t count = gather->part_count;
    for (uint32_t i = 0; i < count; i++) {
        struct gather_part *part = &gather->parts[i];
        part->gather = gather;
        part->worker = &gateway->workers[only >= 0 ? (uint32_t)only : i];
        part->mail.run = run_ask;
        worker_post(part->worker, &part->mail);
    }
}

uint64_t gather_sum(const struct gather *gather, int count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < gather->part_count; i++) {
        sum += gather->parts[i].counts[count];
    }
    return sum;
}
