#include "peer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "net/loop.h"

enum { PEER_ARGUMENTS = 5, MAX_ARGV = 96, FIRST_WRITER = 1000 };

struct peer {
    struct loop_watch watch; /* of its stdout; first */
    pid_t pid;
    int to_it; /* its stdin */
    char *said;
    size_t said_len, said_room;
    bool has_ended;
};

/* ---- the first process ---- */

static void on_said(struct loop_watch *watch, unsigned events)
{
    struct peer *peer = (struct peer *)watch;
    if (peer->said_len + 65536 > peer->said_room) {
        peer->said_room += 1 << 20;
        peer->said = realloc(peer->said, peer->said_room);
        ASSERT(peer->said);
    }
    ssize_t n = read(watch->fd, peer->said + peer->said_len, peer->said_room - peer->said_len);
    if (n > 0) {
        peer->said_len += (size_t)n;
    } else {
        int fd = watch->fd;
        loop_unwatch(rig.loop, watch);
        close(fd);
        peer->has_ended = true;
    }
}

static void become_peer(const int *in, const int *out, size_t each, size_t all_each)
{
    char each_text[24], all_text[24];
    char *argv[MAX_ARGV] = {"/proc/self/exe", "--peer", rig.fresh_name, each_text, all_text};
    snprintf(each_text, sizeof(each_text), "%zu", each);
    snprintf(all_text, sizeof(all_text), "%zu", all_each);
    for (int i = 0; i < rig.argc && i < MAX_ARGV - PEER_ARGUMENTS - 1; i++) {
        argv[PEER_ARGUMENTS + i] = rig.argv[i];
    }
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execv(argv[0], argv);
    _exit(127);
}

struct peer *peer_start(size_t each, size_t all_each)
{
    int in[2], out[2];
    struct peer *peer = calloc(1, sizeof(*peer));
    assert_non_null(peer);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    peer->pid = fork();
    assert_true(peer->pid >= 0);
    if (peer->pid == 0) {
        become_peer(in, out, each, all_each);
    }
    close(in[0]);
    close(out[1]);
    peer->to_it = in[1];
    peer->watch.on_ready = on_said;
    assert_int_equal(loop_watch(rig.loop, &peer->watch, out[0], LOOP_READABLE), 0);
    return peer;
}

bool peer_is_up(const struct peer *peer)
{
    return peer->said_len > 0;
}

void peer_begin(struct peer *peer)
{
    assert_int_equal(write(peer->to_it, "b", 1), 1);
}

bool peer_has_ended(struct peer *peer)
{
    return peer->has_ended;
}

static void take(struct peer *peer, size_t *at, void *out, size_t len)
{
    assert_true(*at + len <= peer->said_len);
    memcpy(out, peer->said + *at, len);
    *at += len;
}

static void take_queue(struct peer *peer, size_t *at, struct node_queue *queue)
{
    take(peer, at, queue, sizeof(*queue));
    queue->seen = calloc(queue->seen_count + 1, sizeof(*queue->seen));
    assert_non_null(queue->seen);
    take(peer, at, queue->seen, queue->seen_count * sizeof(*queue->seen));
}

static void take_writer(struct peer *peer, size_t *at, struct node *node, uint32_t queue)
{
    struct writer *writer = rig_writer(node, queue);
    struct writer theirs;
    take(peer, at, &theirs, sizeof(theirs));
    writer->id = theirs.id;
    writer->sent_count = theirs.sent_count;
    writer->acknowledged = writer->wanted = theirs.acknowledged;
    writer->sent = calloc(theirs.sent_count + 1, sizeof(*writer->sent));
    assert_non_null(writer->sent);
    take(peer, at, writer->sent, theirs.sent_count * sizeof(*writer->sent));
}

void peer_join(struct peer *peer)
{
    int status = -1;
    size_t at = 1; /* behind the byte that said it was up */
    assert_true(waitpid(peer->pid, &status, 0) == peer->pid && status == 0);
    struct node *node = malloc(sizeof(*node));
    assert_non_null(node);
    take(peer, &at, node, sizeof(*node));
    node->bus = NULL;
    rig.nodes[rig.node_count++] = node;
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        take_queue(peer, &at, &node->queues[i]);
    }
    for (uint32_t i = 0; i < node->queue_count; i++) {
        take_writer(peer, &at, node, i);
    }
    close(peer->to_it);
    free(peer->said);
    free(peer);
}

/* ---- the second process ---- */

static bool put(const void *data, size_t len)
{
    return len == 0 || fwrite(data, 1, len, stdout) == len;
}

static bool hand_over(const struct node *node)
{
    bool is_fine = put(node, sizeof(*node));
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        const struct node_queue *queue = &node->queues[i];
        is_fine &= put(queue, sizeof(*queue)) &&
                   put(queue->seen, queue->seen_count * sizeof(*queue->seen));
    }
    for (size_t i = 0; i < rig.writer_count; i++) {
        const struct writer *writer = rig.writers[i];
        is_fine &= put(writer, sizeof(*writer)) &&
                   put(writer->sent, writer->sent_count * sizeof(*writer->sent));
    }
    return fflush(stdout) == 0 && is_fine;
}

static bool turn_until(const struct node *node, size_t seen)
{
    uint64_t end_ms = rig_now_ms() + RIG_PATIENCE_MS;
    while (!rig_writers_are_done() || !node->up || node->seen_ours < seen) {
        if (rig_now_ms() > end_ms) {
            return false;
        }
        rig_turn();
    }
    return true;
}

int peer_main(int argc, char **argv)
{
    char word;
    if (argc < PEER_ARGUMENTS - 1 || !settings_read(&rig.settings, argc - 4, argv + 4)) {
        return 2;
    }
    snprintf(rig.fresh_name, sizeof(rig.fresh_name), "%s", argv[1]);
    if (loop_create(&rig.loop) != 0) {
        return 1;
    }
    struct node *node = rig_node(&(struct node_setup){.name = "peer"});
    if (!turn_until(node, 0) || write(STDOUT_FILENO, "u", 1) != 1 ||
        read(STDIN_FILENO, &word, 1) != 1) {
        return 1;
    }
    for (uint32_t i = 0; i < node->queue_count; i++) {
        struct writer *writer = rig_writer(node, i);
        writer->id = FIRST_WRITER + i;
        writer->wanted = strtoul(argv[2], NULL, 10);
    }
    bool is_done = turn_until(node, strtoul(argv[3], NULL, 10) * node->queue_count) &&
                   hand_over(node);
    rig_close(NULL);
    return is_done ? 0 : 1;
}
