/* Requests under way. The library tells each one's end by one of five kinds of functions; here they
 * become one, and a request that the link takes with it ends too. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "bus/zookeeper_private.h"

struct zk_call {
    struct zk_link *link;
    struct zk_call *next, **prev_link;
    struct zk_then then;
    char created[ZK_NODE_MAX];
    zoo_op_result_t results[]; /* the library writes here until the end */
};

static void call_link(struct zk_call *call)
{
    struct zk_link *link = call->link;
    call->next = link->calls;
    call->prev_link = &link->calls;
    if (call->next) {
        call->next->prev_link = &call->next;
    }
    link->calls = call;
    link->call_count++;
}

static void call_unlink(struct zk_call *call)
{
    *call->prev_link = call->next;
    if (call->next) {
        call->next->prev_link = call->prev_link;
    }
    call->link->call_count--;
}

/* Answers that speak of the link rather than of a node. */
static void look_at_link(struct zk_link *link, int rc)
{
    if (rc == ZSESSIONEXPIRED) {
        link->session = (clientid_t){0};
    }
    if (rc == ZSESSIONEXPIRED || rc == ZSESSIONMOVED || rc == ZTHROTTLEDOP) {
        zk_link_break(link, "%s", zerror(rc));
    }
}

static void call_end(struct zk_call *call, const struct zk_reply *reply)
{
    call_unlink(call);
    look_at_link(call->link, reply->rc);
    if (!call->link->is_silent) {
        call->then.on_reply(call->then.owner, call->then.tag, reply);
    }
    mem_free(call);
}

void zk_calls_end(struct zk_link *link, int rc, bool silently)
{
    link->is_silent |= silently;
    while (link->calls) {
        call_end(link->calls, &(struct zk_reply){.rc = rc});
    }
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
    call_end((struct zk_call *)data, &(struct zk_reply){.rc = rc, .stat = stat});
}

static void on_data(int rc, const char *value, int value_len, const struct Stat *stat,
                    const void *data)
{
    struct str bytes = {value, value_len > 0 ? (size_t)value_len : 0};
    call_end((struct zk_call *)data, &(struct zk_reply){.rc = rc, .stat = stat, .data = bytes});
}

static void on_names(int rc, const struct String_vector *names, const void *data)
{
    call_end((struct zk_call *)data, &(struct zk_reply){.rc = rc, .names = names});
}

static void on_string(int rc, const char *value, const void *data)
{
    call_end((struct zk_call *)data, &(struct zk_reply){.rc = rc});
}

static void on_multi(int rc, const void *data)
{
    struct zk_call *call = (struct zk_call *)data;
    call_end(call,
             &(struct zk_reply){.rc = rc, .results = call->results, .created = call->created});
}

/* Without memory the link ends, and who asked hears it at once. */
static struct zk_call *call_create(struct zk_link *link, size_t results, struct zk_then then)
{
    size_t size = sizeof(struct zk_call) + results * sizeof(zoo_op_result_t);
    struct zk_call *call = link->handle ? mem_zalloc(size) : NULL;
    if (!call) {
        zk_link_break(link, "out of memory");
        then.on_reply(then.owner, then.tag, &(struct zk_reply){.rc = ZCONNECTIONLOSS});
        return NULL;
    }
    call->link = link;
    call->then = then;
    call_link(call);
    return call;
}

/* A request that the library did not take stays until the link's end, which is near. */
static void call_sent(struct zk_call *call, int rc)
{
    if (rc != ZOK) {
        zk_link_break(call->link, "the client library refused a request: %s", zerror(rc));
    }
}

void zk_exists(struct zk_link *link, const char *path, watcher_fn watcher, void *context,
               struct zk_then then)
{
    struct zk_call *call = call_create(link, 0, then);
    if (call) {
        call_sent(call, zoo_awexists(link->handle, path, watcher, context, on_stat, call));
    }
}

void zk_get(struct zk_link *link, const char *path, struct zk_then then)
{
    struct zk_call *call = call_create(link, 0, then);
    if (call) {
        call_sent(call, zoo_aget(link->handle, path, 0, on_data, call));
    }
}

void zk_children(struct zk_link *link, const char *path, struct zk_then then)
{
    struct zk_call *call = call_create(link, 0, then);
    if (call) {
        call_sent(call, zoo_aget_children(link->handle, path, 0, on_names, call));
    }
}

void zk_create(struct zk_link *link, const char *path, struct str data, int mode,
               struct zk_then then)
{
    struct zk_call *call = call_create(link, 0, then);
    if (call) {
        call_sent(call, zoo_acreate(link->handle, path, data.ptr, (int)data.len, link->bus->acl,
                                    mode, on_string, call));
    }
}

void zk_touch(struct zk_link *link, const char *path, struct zk_then then)
{
    struct zk_call *call = call_create(link, 0, then);
    if (call) {
        call_sent(call, zoo_aset(link->handle, path, "", 0, -1, on_stat, call));
    }
}

void zk_multi(struct zk_link *link, zoo_op_t *ops, int count, struct zk_then then)
{
    struct zk_call *call = call_create(link, (size_t)count, then);
    if (!call) {
        return;
    }
    for (int i = 0; i < count; i++) {
        if (ops[i].type == ZOO_CREATE_OP && !call->created[0]) {
            ops[i].create_op.buf = call->created;
            ops[i].create_op.buflen = sizeof(call->created);
            break;
        }
    }
    call_sent(call, zoo_amulti(link->handle, count, ops, call->results, on_multi, call));
}
