#include "writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

void writer_init(struct writer *writer, struct node *node, uint32_t id, uint32_t queue)
{
    *writer = (struct writer){.node = node,
                              .id = id,
                              .queue = queue,
                              .record_bytes = 64,
                              .deadline_ms = 10000,
                              .wanted = 0};
}

void writer_fini(struct writer *writer)
{
    free(writer->record);
    free(writer->sent);
    writer->record = NULL;
    writer->sent = NULL;
}

static struct sent *append_sent(struct writer *writer)
{
    if (writer->sent_count == writer->sent_room) {
        writer->sent_room = writer->sent_room ? writer->sent_room * 2 : 64;
        writer->sent = realloc(writer->sent, writer->sent_room * sizeof(*writer->sent));
        ASSERT(writer->sent);
    }
    return &writer->sent[writer->sent_count++];
}

static bool has_more(const struct writer *writer)
{
    return !writer->is_busy && !writer->is_stopped && !writer->node->is_ended &&
           writer->acknowledged < writer->wanted;
}

static void on_done(struct bus_publish *publish, int err, struct bus_pos pos)
{
    struct writer *writer = (struct writer *)((char *)publish - offsetof(struct writer, publish));
    struct node *node = writer->node;
    struct sent *sent = &writer->sent[writer->sent_count - 1];
    if (!writer->is_busy || sent->err != WRITER_PENDING) {
        node_note_breach(node, "queue %u: record %zu was answered twice", writer->queue,
                         writer->sent_count - 1);
        return;
    }
    if (node->in_publish) {
        node_note_breach(node, "queue %u: on_done inside bus_publish", writer->queue);
    }
    if (err > 0) {
        node_note_breach(node, "queue %u: on_done with err %d", writer->queue, err);
    }
    writer->is_busy = false;
    *sent = (struct sent){err, pos, sent->at_ms, clock_monotonic_ms()};
    *(err ? &writer->failed : &writer->acknowledged) += 1;
    if (writer->chains && !err) {
        writer_advance(writer);
    }
}

bool writer_advance(struct writer *writer)
{
    if (!has_more(writer)) {
        return false;
    }
    uint64_t now_ms = clock_monotonic_ms();
    uint8_t *record = realloc(writer->record, writer->record_bytes);
    ASSERT(record);
    writer->record = record;
    node_record_write(record, writer->record_bytes, writer->id, (uint32_t)writer->sent_count);
    *append_sent(writer) = (struct sent){.err = WRITER_PENDING, .at_ms = now_ms};
    writer->publish = (struct bus_publish){
        .on_done = on_done,
        .queue = writer->queue,
        .record = str_make(record, writer->record_bytes),
        .deadline_ms = writer->deadline_ms ? now_ms + writer->deadline_ms : 0,
    };
    writer->is_busy = true;
    int err = node_publish(writer->node, &writer->publish);
    if (err) {
        writer->is_busy = false;
        writer->sent[writer->sent_count - 1].err = err;
        writer->refused++;
    }
    return !err;
}

bool writer_is_done(const struct writer *writer)
{
    return !writer->is_busy && (writer->is_stopped || writer->acknowledged >= writer->wanted);
}
