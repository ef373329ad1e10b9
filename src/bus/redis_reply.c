#include "bus/redis_reply.h"

#include <hiredis/read.h>

#include "base/err.h"
#include "base/mem.h"

enum { BLOCK_BYTES = 64 * 1024, IDLE_BYTES = 256 * 1024, LINE_MAX_BYTES = 64 * 1024 };

/* A piece of the arena; the first one stays. */
struct block {
    struct block *next;
    size_t used, size;
    char bytes[];
};

struct redis_reader {
    redisReader *hiredis;
    struct block *blocks; /* the one in use first */
    struct redis_reply root;
    size_t items, bytes; /* of the reply in the making */
    size_t max_bytes;
    bool too_large;
    bool is_done; /* the root was handed out */
};

static struct block *add_block(struct redis_reader *reader, size_t size)
{
    size = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    struct block *block = mem_alloc(sizeof(*block) + size);
    if (!block) {
        return NULL;
    }
    mem_account(MEM_BUS, (int64_t)(sizeof(*block) + size));
    *block = (struct block){.next = reader->blocks, .size = size};
    reader->blocks = block;
    return block;
}

static void free_block(struct block *block)
{
    mem_account(MEM_BUS, -(int64_t)(sizeof(*block) + block->size));
    mem_free(block);
}

static void *take(struct redis_reader *reader, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    struct block *block = reader->blocks;
    if (!block || block->size - block->used < size) {
        block = add_block(reader, size);
    }
    if (!block) {
        return NULL;
    }
    void *place = block->bytes + block->used;
    block->used += size;
    return place;
}

/* A small block is kept for the next reply. */
static void forget_reply(struct redis_reader *reader)
{
    struct block *kept = NULL;
    for (struct block *block = reader->blocks; block;) {
        struct block *next = block->next;
        if (!kept && block->size == BLOCK_BYTES) {
            kept = block;
        } else {
            free_block(block);
        }
        block = next;
    }
    if (kept) {
        kept->next = NULL;
        kept->used = 0;
    }
    reader->blocks = kept;
    reader->items = reader->bytes = 0;
    reader->is_done = false;
}

/* hiredis counts the places of an array up from 0 and never passes its size. */
static struct redis_reply *place_of(const redisReadTask *task)
{
    struct redis_reader *reader = task->privdata;
    const redisReadTask *parent = task->parent;
    return parent ? &((struct redis_reply *)parent->obj)->items[task->idx] : &reader->root;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply = place_of(task);
    if (len > reader->max_bytes - reader->bytes) {
        reader->too_large = true;
        return NULL;
    }
    char *copy = take(reader, len);
    if (!copy) {
        return NULL;
    }
    memcpy(copy, text, len);
    reader->bytes += len;
    bool is_error = task->type == REDIS_REPLY_ERROR;
    *reply = (struct redis_reply){.type = is_error ? REDIS_REPLY_IS_ERROR : REDIS_REPLY_IS_TEXT,
                                  .text = str_make(copy, len)};
    return reply;
}

static void *create_array(const redisReadTask *task, int count)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply = place_of(task);
    if (count < 0 || (size_t)count > REDIS_REPLY_MAX_ITEMS - reader->items) {
        reader->too_large = true;
        return NULL;
    }
    size_t size = (size_t)count * sizeof(struct redis_reply);
    struct redis_reply *items = take(reader, size);
    if (!items) {
        return NULL;
    }
    memset(items, 0, size); /* nil, until they come */
    reader->items += (size_t)count;
    *reply = (struct redis_reply){
        .type = REDIS_REPLY_IS_ARRAY, .items = items, .count = (size_t)count};
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct redis_reply *reply = place_of(task);
    *reply = (struct redis_reply){.type = REDIS_REPLY_IS_INTEGER, .integer = value};
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    struct redis_reply *reply = place_of(task);
    *reply = (struct redis_reply){.type = REDIS_REPLY_IS_NIL};
    return reply;
}

/* The arena goes at once. */
static void free_object(void *object)
{
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_array,
                                              .createInteger = create_integer,
                                              .createNil = create_nil,
                                              .freeObject = free_object};

int redis_reader_create(struct redis_reader **out_reader, size_t max_bytes)
{
    struct redis_reader *reader = mem_zalloc(sizeof(*reader));
    if (!reader) {
        return ERR_NO_MEMORY;
    }
    reader->max_bytes = max_bytes;
    reader->hiredis = redisReaderCreateWithFunctions(&functions);
    if (!reader->hiredis) {
        mem_free(reader);
        return ERR_NO_MEMORY;
    }
    reader->hiredis->privdata = reader;
    reader->hiredis->maxbuf = IDLE_BYTES;
    *out_reader = reader;
    return 0;
}

void redis_reader_destroy(struct redis_reader *reader)
{
    if (!reader) {
        return;
    }
    forget_reply(reader);
    if (reader->blocks) {
        free_block(reader->blocks);
    }
    redisReaderFree(reader->hiredis);
    mem_free(reader);
}

int redis_reader_feed(struct redis_reader *reader, struct str data)
{
    size_t unread = reader->hiredis->len - reader->hiredis->pos;
    if (data.len > reader->max_bytes || unread > reader->max_bytes - data.len) {
        return ERR_TOO_LARGE;
    }
    return redisReaderFeed(reader->hiredis, data.ptr, data.len) == REDIS_OK ? 0 : ERR_NO_MEMORY;
}

static int error_of(const struct redis_reader *reader)
{
    if (reader->too_large) {
        return ERR_TOO_LARGE;
    }
    return reader->hiredis->err == REDIS_ERR_OOM ? ERR_NO_MEMORY : ERR_PROTOCOL;
}

/* hiredis would look for the end of a line from its start each time. */
static bool is_endless_line(const redisReader *hiredis)
{
    return hiredis->len - hiredis->pos > LINE_MAX_BYTES &&
           !memchr(hiredis->buf + hiredis->pos, '\n', LINE_MAX_BYTES);
}

int redis_reader_next(struct redis_reader *reader, const struct redis_reply **out_reply)
{
    if (reader->is_done) {
        forget_reply(reader);
    }
    void *object = NULL;
    if (redisReaderGetReply(reader->hiredis, &object) != REDIS_OK) {
        return error_of(reader);
    }
    if (!object && is_endless_line(reader->hiredis)) {
        return ERR_TOO_LARGE;
    }
    reader->is_done = object != NULL;
    *out_reply = object ? &reader->root : NULL;
    return 0;
}

size_t redis_reader_reply_bytes(const struct redis_reader *reader)
{
    return reader->bytes;
}

bool redis_reply_is_error(const struct redis_reply *reply, struct str word)
{
    return reply->type == REDIS_REPLY_IS_ERROR && str_starts_with(reply->text, word) &&
           (reply->text.len == word.len || reply->text.ptr[word.len] == ' ');
}

const struct redis_reply *redis_reply_item(const struct redis_reply *reply, size_t index)
{
    static const struct redis_reply nil = {.type = REDIS_REPLY_IS_NIL};
    bool has = reply->type == REDIS_REPLY_IS_ARRAY && index < reply->count;
    return has ? &reply->items[index] : &nil;
}
