/* For the ZooKeeper engine's tests: a real server as a child process, and nodes (an engine on a
 * loop of its own, in this process) that write down what they are told. */
#ifndef TIDEGATE_BUS_ZOOKEEPER_TEST_HELP_H
#define TIDEGATE_BUS_ZOOKEEPER_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "bus/engines.h"
#include "bus/zookeeper_private.h"

/* ---- the server ---- */

#define ZK_TEST_JAR "/usr/share/java/zookeeper.jar"

enum { ZK_TEST_PATIENCE_MS = 60000, ZK_TEST_SESSION_MS = 2000 };

struct zk_test_server {
    pid_t pid;
    int port;
    char dir[64];
};

static inline int zk_test_free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    close(fd);
    return ntohs(name.sin_port);
}

static inline void zk_test_write_config(const struct zk_test_server *server)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/zoo.cfg", server->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "tickTime=200\ndataDir=%s/data\nclientPort=%d\nclientPortAddress=127.0.0.1\n"
            "admin.enableServer=false\nmaxClientCnxns=0\nminSessionTimeout=500\n"
            "maxSessionTimeout=60000\n",
            server->dir, server->port);
    fclose(file);
}

static inline void zk_test_server_run(struct zk_test_server *server)
{
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        if (chdir(server->dir) == 0) {
            execlp("java", "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
                   ZK_TEST_JAR, "org.apache.zookeeper.server.ZooKeeperServerMain", "zoo.cfg",
                   (char *)NULL);
        }
        _exit(127);
    }
}

static inline void zk_test_server_start(struct zk_test_server *server)
{
    snprintf(server->dir, sizeof(server->dir), "/tmp/tidegate-zookeeper-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    server->port = zk_test_free_port();
    zk_test_write_config(server);
    zk_test_server_run(server);
}

static inline void zk_test_server_kill(struct zk_test_server *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

static inline int zk_test_remove(const char *path, const struct stat *stat, int type,
                                 struct FTW *ftw)
{
    return remove(path);
}

static inline void zk_test_server_stop(struct zk_test_server *server)
{
    if (server->pid > 0) {
        zk_test_server_kill(server);
    }
    nftw(server->dir, zk_test_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a node ---- */

enum { ZK_TEST_QUEUES = 2, ZK_TEST_LOG = 8192 };

struct zk_test_entry {
    char kind; /* r record, h hole, s start, e epoch, skipped x */
    uint32_t queue;
    struct bus_pos pos, to;
    enum bus_hole why;
    char text[40]; /* of a record, its beginning */
    size_t len;
    uint64_t wall_ms;
};

struct zk_test_node {
    struct loop *loop;
    struct bus *bus;
    struct bus_value values[ZK_OPTION_COUNT];
    struct bus_options options;
    struct str server;
    char server_text[64];
    bool up;
    int states; /* on_state calls */
    char reason[256];
    bool queue_up[ZK_TEST_QUEUES];
    char epoch[BUS_EPOCH_MAX + 1];
    int epochs;
    struct zk_test_entry log[ZK_TEST_LOG];
    int count;
};

static inline struct zk_test_entry *zk_test_log(struct zk_test_node *node)
{
    assert_true(node->count < ZK_TEST_LOG);
    struct zk_test_entry *entry = &node->log[node->count++];
    *entry = (struct zk_test_entry){0};
    return entry;
}

static inline void zk_test_on_epoch(void *owner, struct str epoch)
{
    struct zk_test_node *node = owner;
    assert_true(epoch.len >= 1 && epoch.len <= BUS_EPOCH_MAX);
    snprintf(node->epoch, sizeof(node->epoch), "%.*s", STR_ARG(epoch));
    node->epochs++;
    zk_test_log(node)->kind = 'e';
}

static inline void zk_test_on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    struct zk_test_entry *entry = zk_test_log(owner);
    entry->kind = 's';
    entry->queue = queue;
    entry->pos = from;
}

static inline void zk_test_on_record(void *owner, uint32_t queue, struct bus_pos pos,
                                     struct str record, uint64_t wall_ms)
{
    struct zk_test_entry *entry = zk_test_log(owner);
    entry->kind = record.len ? 'r' : 'x';
    entry->queue = queue;
    entry->pos = pos;
    entry->len = record.len;
    entry->wall_ms = wall_ms;
    size_t shown = record.len < sizeof(entry->text) - 1 ? record.len : sizeof(entry->text) - 1;
    memcpy(entry->text, record.ptr, shown);
}

static inline void zk_test_on_hole(void *owner, uint32_t queue, struct bus_pos from,
                                   struct bus_pos to, enum bus_hole why)
{
    struct zk_test_entry *entry = zk_test_log(owner);
    entry->kind = 'h';
    entry->queue = queue;
    entry->pos = from;
    entry->to = to;
    entry->why = why;
}

static inline void zk_test_on_queue_state(void *owner, uint32_t queue, bool up)
{
    struct zk_test_node *node = owner;
    assert_true(node->queue_up[queue] != up);
    node->queue_up[queue] = up;
}

static inline void zk_test_on_state(void *owner, bool up, const char *reason)
{
    struct zk_test_node *node = owner;
    node->up = up;
    node->states++;
    snprintf(node->reason, sizeof(node->reason), "%s", reason);
}

static const struct bus_callbacks zk_test_callbacks = {.on_epoch = zk_test_on_epoch,
                                                       .on_start = zk_test_on_start,
                                                       .on_record = zk_test_on_record,
                                                       .on_hole = zk_test_on_hole,
                                                       .on_queue_state = zk_test_on_queue_state,
                                                       .on_state = zk_test_on_state};

/* Values as the configuration would give them; the test changes what it likes, then opens. */
static inline struct zk_test_node *zk_test_node_create(int port)
{
    struct zk_test_node *node = calloc(1, sizeof(*node));
    assert_non_null(node);
    snprintf(node->server_text, sizeof(node->server_text), "127.0.0.1:%d", port);
    node->server = str_of(node->server_text);
    node->values[ZK_SERVERS] = (struct bus_value){.texts = &node->server, .text_count = 1};
    node->values[ZK_PATH].text = STR("/tidegate");
    node->values[ZK_AUTH].text = STR("");
    node->values[ZK_SESSION_TIMEOUT].number = ZK_TEST_SESSION_MS;
    node->values[ZK_BUCKET_RECORDS].number = 2000;
    node->values[ZK_MAX_RECORD].number = 1000 << 10;
    node->options = (struct bus_options){.queues = ZK_TEST_QUEUES,
                                         .values = node->values,
                                         .window_age_ms = 60000,
                                         .boot = 1,
                                         .node = STR("node-1")};
    assert_int_equal(loop_create(&node->loop), 0);
    return node;
}

static inline void zk_test_node_open(struct zk_test_node *node)
{
    assert_int_equal(bus_zookeeper_engine.create(&node->bus, node->loop, &node->options,
                                                 &zk_test_callbacks, node),
                     0);
}

static inline void zk_test_node_destroy(struct zk_test_node *node)
{
    if (node) {
        bus_destroy(node->bus);
        loop_destroy(node->loop);
        free(node);
    }
}

/* Turns the loops of some nodes until the condition holds; fails when it takes too long. */
#define ZK_TEST_UNTIL(condition, ...)                                                           \
    do {                                                                                        \
        struct zk_test_node *zk_test_turned[] = {__VA_ARGS__};                                  \
        uint64_t zk_test_end = clock_monotonic_ms() + ZK_TEST_PATIENCE_MS;                      \
        while (!(condition)) {                                                                  \
            if (clock_monotonic_ms() > zk_test_end) {                                           \
                fail_msg("%s:%d: it never came: %s", __FILE__, __LINE__, #condition);           \
            }                                                                                   \
            for (size_t zk_test_i = 0;                                                          \
                 zk_test_i < sizeof(zk_test_turned) / sizeof(zk_test_turned[0]); zk_test_i++) { \
                assert_int_equal(loop_turn(zk_test_turned[zk_test_i]->loop, 2), 0);             \
            }                                                                                   \
        }                                                                                       \
    } while (0)

/* It has read all that there is, and waits to be told of more. */
static inline bool zk_test_is_quiet(const struct zk_test_node *node, uint32_t queue)
{
    return ((struct zk_bus *)node->bus)->queues[queue].reader.state == ZK_READ_AWAIT;
}

/* ---- publishing ---- */

struct zk_test_publish {
    struct bus_publish publish; /* first */
    char text[40];
    bool done;
    int err;
    struct bus_pos pos;
};

static inline void zk_test_on_done(struct bus_publish *publish, int err, struct bus_pos pos)
{
    struct zk_test_publish *mine = (struct zk_test_publish *)publish;
    assert_false(mine->done);
    mine->done = true;
    mine->err = err;
    mine->pos = pos;
}

static inline void zk_test_publish(struct zk_test_node *node, struct zk_test_publish *publish,
                                   uint32_t queue, const char *text, uint64_t patience_ms)
{
    *publish = (struct zk_test_publish){.publish = {.on_done = zk_test_on_done, .queue = queue}};
    snprintf(publish->text, sizeof(publish->text), "%s", text);
    publish->publish.record = str_of(publish->text);
    publish->publish.deadline_ms = patience_ms ? clock_monotonic_ms() + patience_ms : 0;
    assert_int_equal(bus_publish(node->bus, &publish->publish), 0);
    bus_flush(node->bus);
}

static inline int zk_test_count(const struct zk_test_node *node, char kind, uint32_t queue)
{
    int count = 0;
    for (int i = 0; i < node->count; i++) {
        count += node->log[i].kind == kind && node->log[i].queue == queue;
    }
    return count;
}

/* The n-th entry of its kind in a queue, from 0. */
static inline const struct zk_test_entry *zk_test_entry(const struct zk_test_node *node, char kind,
                                                        uint32_t queue, int n)
{
    for (int i = 0; i < node->count; i++) {
        if (node->log[i].kind == kind && node->log[i].queue == queue && n-- == 0) {
            return &node->log[i];
        }
    }
    for (int i = 0; i < node->count; i++) {
        print_error("%c queue %u %llx %s\n", node->log[i].kind, node->log[i].queue,
                    (unsigned long long)node->log[i].pos.hi, node->log[i].text);
    }
    fail_msg("there is no such entry");
    return NULL;
}

/* ---- somebody with a client of his own ---- */

struct zk_test_hand {
    zhandle_t *handle;
    bool done;
    int rc;
    struct Stat stat;
    char created[ZK_NODE_MAX];
};

static inline void zk_test_hand_turn(struct zk_test_hand *hand)
{
    int fd = -1;
    int interest = 0;
    struct timeval wait = {0};
    zookeeper_interest(hand->handle, &fd, &interest, &wait);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    poll_fd.events |= interest & ZOOKEEPER_WRITE ? POLLOUT : 0;
    poll(&poll_fd, 1, 10);
    int events = (poll_fd.revents & (POLLIN | POLLHUP) ? ZOOKEEPER_READ : 0) |
                 (poll_fd.revents & POLLOUT ? ZOOKEEPER_WRITE : 0);
    zookeeper_process(hand->handle, events);
}

static inline void zk_test_hand_open(struct zk_test_hand *hand, int port)
{
    char host[64];
    snprintf(host, sizeof(host), "127.0.0.1:%d", port);
    *hand = (struct zk_test_hand){0};
    hand->handle = zookeeper_init2(host, NULL, 30000, NULL, NULL, ZOO_NO_LOG_CLIENTENV, NULL);
    assert_non_null(hand->handle);
    uint64_t end = clock_monotonic_ms() + ZK_TEST_PATIENCE_MS;
    while (zoo_state(hand->handle) != ZOO_CONNECTED_STATE) {
        assert_true(clock_monotonic_ms() < end);
        zk_test_hand_turn(hand);
    }
}

static inline void zk_test_hand_close(struct zk_test_hand *hand)
{
    zookeeper_close(hand->handle);
}

static inline int zk_test_hand_wait(struct zk_test_hand *hand)
{
    uint64_t end = clock_monotonic_ms() + ZK_TEST_PATIENCE_MS;
    while (!hand->done) {
        assert_true(clock_monotonic_ms() < end);
        zk_test_hand_turn(hand);
    }
    hand->done = false;
    return hand->rc;
}

static inline void zk_test_hand_done(int rc, const void *data)
{
    struct zk_test_hand *hand = (struct zk_test_hand *)data;
    hand->rc = rc;
    hand->done = true;
}

static inline void zk_test_hand_string(int rc, const char *value, const void *data)
{
    zk_test_hand_done(rc, data);
}

static inline void zk_test_hand_stat(int rc, const struct Stat *stat, const void *data)
{
    if (rc == ZOK) {
        ((struct zk_test_hand *)data)->stat = *stat;
    }
    zk_test_hand_done(rc, data);
}

static inline int zk_test_hand_create(struct zk_test_hand *hand, const char *path, const char *data,
                                      int len)
{
    zoo_acreate(hand->handle, path, data, len, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT,
                zk_test_hand_string, hand);
    return zk_test_hand_wait(hand);
}

static inline int zk_test_hand_append(struct zk_test_hand *hand, const char *path, const char *data,
                                      int len)
{
    zoo_acreate(hand->handle, path, data, len, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL,
                zk_test_hand_string, hand);
    return zk_test_hand_wait(hand);
}

static inline int zk_test_hand_delete(struct zk_test_hand *hand, const char *path)
{
    zoo_adelete(hand->handle, path, -1, zk_test_hand_done, hand);
    return zk_test_hand_wait(hand);
}

static inline int zk_test_hand_exists(struct zk_test_hand *hand, const char *path)
{
    zoo_aexists(hand->handle, path, 0, zk_test_hand_stat, hand);
    return zk_test_hand_wait(hand);
}

static char zk_test_names[512][64];
static int zk_test_name_count;

static inline void zk_test_hand_names(int rc, const struct String_vector *names, const void *data)
{
    zk_test_name_count = 0;
    for (int i = 0; rc == ZOK && i < names->count && i < 512; i++) {
        snprintf(zk_test_names[zk_test_name_count++], 64, "%s", names->data[i]);
    }
    zk_test_hand_done(rc, data);
}

/* How many children there are; -1 when the node is not there. */
static inline int zk_test_hand_children(struct zk_test_hand *hand, const char *path)
{
    zoo_aget_children(hand->handle, path, 0, zk_test_hand_names, hand);
    return zk_test_hand_wait(hand) == ZOK ? zk_test_name_count : -1;
}

/* The node and all below it. */
static inline void zk_test_hand_delete_tree(struct zk_test_hand *hand, const char *path)
{
    while (zk_test_hand_children(hand, path) > 0) {
        int count = zk_test_name_count;
        char(*names)[64] = malloc(sizeof(zk_test_names));
        memcpy(names, zk_test_names, sizeof(zk_test_names));
        for (int i = 0; i < count; i++) {
            char child[ZK_NODE_MAX];
            snprintf(child, sizeof(child), "%s/%s", path, names[i]);
            zk_test_hand_delete_tree(hand, child);
        }
        free(names);
    }
    zk_test_hand_delete(hand, path);
}

#endif
