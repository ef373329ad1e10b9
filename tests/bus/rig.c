#include "rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "fault_proxy.h"
#include "net/loop.h"

enum { TURN_MS = 20, MAX_ARGUMENTS = 8 };

struct rig rig;

uint64_t rig_now_ms(void)
{
    return clock_monotonic_ms();
}

/* ---- open and close ---- */

int rig_open(void **state)
{
    static unsigned cases;
    rig.node_count = rig.writer_count = 0;
    rig.opened_ms = rig_now_ms();
    snprintf(rig.fresh_name, sizeof(rig.fresh_name), "contract-%d-%u", (int)getpid(), ++cases);
    assert_int_equal(loop_create(&rig.loop), 0);
    for (size_t i = 0; rig_has_links() && i < rig.settings.link_count; i++) {
        const struct settings_link *link = &rig.settings.links[i];
        char told[ADDR_TEXT_MAX], bound[ADDR_TEXT_MAX];
        assert_int_equal(fault_proxy_start(&rig.proxies[i], addr_format_ip(&link->told, told),
                                           link->told.port, addr_format_ip(&link->bound, bound),
                                           link->bound.port),
                         0);
    }
    return 0;
}

int rig_close(void **state)
{
    /* Nodes first: their writers hear of it. */
    for (size_t i = 0; i < rig.node_count; i++) {
        node_end(rig.nodes[i]);
    }
    for (size_t i = 0; i < rig.writer_count; i++) {
        writer_fini(rig.writers[i]);
        free(rig.writers[i]);
    }
    for (size_t i = 0; i < rig.node_count; i++) {
        node_destroy(rig.nodes[i]);
    }
    rig.node_count = rig.writer_count = 0;
    if (rig.broker_is_hurt) {
        rig_broker("start", NULL);
    }
    for (size_t i = 0; i < SETTINGS_MAX_LINKS; i++) {
        fault_proxy_stop(rig.proxies[i]);
        rig.proxies[i] = NULL;
    }
    loop_destroy(rig.loop);
    rig.loop = NULL;
    print_message("             %.1f s\n", (double)(rig_now_ms() - rig.opened_ms) / 1000);
    return 0;
}

struct node *rig_node(const struct node_setup *setup)
{
    assert_true(rig.node_count < RIG_MAX_NODES);
    struct node *node = node_create(rig.loop, &rig.settings, rig.fresh_name, setup);
    rig.nodes[rig.node_count++] = node;
    return node;
}

struct node *rig_node_up(const char *name)
{
    struct node *node = rig_node(&(struct node_setup){.name = name});
    RIG_UNTIL(node->up && node_queues_up(node) == node->queue_count);
    return node;
}

/* ---- nodes ---- */

static bool all_up(void)
{
    bool is_up = true;
    for (size_t i = 0; i < rig.node_count; i++) {
        const struct node *node = rig.nodes[i];
        is_up &= node->is_ended || (node->up && node_queues_up(node) == node->queue_count);
    }
    return is_up;
}

static bool all_down(void)
{
    bool is_down = true;
    for (size_t i = 0; i < rig.node_count; i++) {
        is_down &= !rig.nodes[i]->up;
    }
    return is_down;
}

void rig_until_up(uint64_t patience_ms)
{
    RIG_UNTIL_WITHIN(patience_ms, all_up());
}

void rig_until_down(uint64_t patience_ms)
{
    RIG_UNTIL_WITHIN(patience_ms, all_down());
}

struct writer *rig_writer(struct node *node, uint32_t queue)
{
    assert_true(rig.writer_count < RIG_MAX_WRITERS);
    struct writer *writer = malloc(sizeof(*writer));
    assert_non_null(writer);
    writer_init(writer, node, rig.next_writer_id++, queue);
    rig.writers[rig.writer_count++] = writer;
    return writer;
}

/* ---- turns ---- */

void rig_turn(void)
{
    bool is_busy = false;
    for (size_t i = 0; i < rig.writer_count; i++) {
        is_busy |= writer_advance(rig.writers[i]);
    }
    for (size_t i = 0; i < rig.node_count; i++) {
        if (rig.nodes[i]->bus) {
            bus_flush(rig.nodes[i]->bus);
        }
    }
    /* What has no descriptors acknowledges in the flush: then there is nothing to wait for. */
    bool waits = !is_busy || !rig.settings.engine->any_thread;
    assert_int_equal(loop_turn(rig.loop, waits ? TURN_MS : 0), 0);
}

static void tell_nodes(void)
{
    for (size_t i = 0; i < rig.node_count; i++) {
        const struct node *node = rig.nodes[i];
        print_error("  %s: %s%s%s, %u of %u queues up, %zu records, %zu holes%s%s\n", node->name,
                    node->up ? "up" : "down", node->up ? "" : ": ", node->up ? "" : node->reason,
                    node_queues_up(node), node->queue_count, node->seen_ours, node_holes(node),
                    node->breach[0] ? "; " : "", node->breach);
    }
}

static void tell_writers(void)
{
    for (size_t i = 0; i < rig.writer_count && i < 16; i++) {
        const struct writer *writer = rig.writers[i];
        int last = 0;
        for (size_t k = 0; k < writer->sent_count; k++) {
            last = writer->sent[k].err < 0 ? writer->sent[k].err : last;
        }
        print_error(
            "  writer %u, queue %u: %zu of %zu acknowledged, %zu failed, %zu refused%s%s%s\n",
            writer->id, writer->queue, writer->acknowledged, writer->wanted, writer->failed,
            writer->refused, writer->is_busy ? ", one under way" : "", last ? "; last error: " : "",
            last ? err_str(last) : "");
    }
}

void rig_turn_or_fail(uint64_t end_ms, const char *condition, const char *file, int line)
{
    for (size_t i = 0; i < rig.node_count; i++) {
        node_assert_sound(rig.nodes[i]);
    }
    if (rig_now_ms() > end_ms) {
        print_error("in vain: %s\n", condition);
        tell_nodes();
        tell_writers();
        _fail(file, line);
    }
    rig_turn();
}

bool rig_writers_are_done(void)
{
    for (size_t i = 0; i < rig.writer_count; i++) {
        if (!writer_is_done(rig.writers[i])) {
            return false;
        }
    }
    return true;
}

void rig_write(struct writer *writer, size_t more)
{
    writer->wanted = writer->acknowledged + more;
}

/* ---- streams ---- */

void rig_stream(struct node *node, uint64_t deadline_ms)
{
    for (uint32_t i = 0; i < node->queue_count; i++) {
        struct writer *writer = rig_writer(node, i);
        writer->deadline_ms = deadline_ms;
        writer->wanted = SIZE_MAX;
    }
}

static void mark_all(void)
{
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig.writers[i]->mark_acknowledged = rig.writers[i]->acknowledged;
        rig.writers[i]->mark_failed = rig.writers[i]->failed + rig.writers[i]->refused;
    }
}

static bool has_each(size_t acknowledged, size_t failed)
{
    bool has = true;
    for (size_t i = 0; i < rig.writer_count; i++) {
        const struct writer *writer = rig.writers[i];
        has &= writer->acknowledged - writer->mark_acknowledged >= acknowledged;
        has &= writer->failed + writer->refused - writer->mark_failed >= failed;
    }
    return has;
}

void rig_stream_until_acknowledged(size_t more)
{
    mark_all();
    RIG_UNTIL(has_each(more, 0));
}

void rig_stream_until_failed(size_t more)
{
    mark_all();
    RIG_UNTIL(has_each(0, more));
}

void rig_stream_stop(void)
{
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig.writers[i]->is_stopped = true;
    }
    RIG_UNTIL(rig_writers_are_done());
}

void rig_forget_writers(void)
{
    rig_stream_stop();
    for (size_t i = 0; i < rig.writer_count; i++) {
        writer_fini(rig.writers[i]);
        free(rig.writers[i]);
    }
    rig.writer_count = 0;
}

struct audit rig_whole(void)
{
    return (struct audit){.nodes = rig.nodes,
                          .node_count = rig.node_count,
                          .writers = rig.writers,
                          .writer_count = rig.writer_count};
}

/* On a machine that is busy enough a link breaks without our doing. */
static bool has_lost_a_link(void)
{
    bool has = false;
    for (size_t i = 0; i < rig.node_count; i++) {
        const struct bus *bus = rig.nodes[i]->bus;
        has |= bus && !bus_is_lossless(bus) && atomic_load(&bus->stats.reconnects) > 0;
    }
    return has;
}

void rig_audit(bool may_have_holes)
{
    struct audit audit = rig_whole();
    audit.may_have_holes = may_have_holes || has_lost_a_link();
    RIG_UNTIL(audit_is_settled(&audit));
    audit_run(&audit);
}

/* ---- links ---- */

/* A server that can't be told to listen apart has none. */
bool rig_has_links(void)
{
    const struct settings_link *first = &rig.settings.links[0];
    return rig.settings.link_count > 0 && !addr_equal_ip(&first->told, &first->bound);
}

static void set_link(struct fault_proxy *proxy, enum link what)
{
    switch (what) {
    case LINK_CARRIES: assert_int_equal(fault_proxy_heal(proxy), 0); break;
    case LINK_CUT:
        fault_proxy_refuse(proxy);
        fault_proxy_reset(proxy);
        break;
    case LINK_DEAF: fault_proxy_drop(proxy, true, false); break;
    case LINK_MUTE: fault_proxy_drop(proxy, false, true); break;
    case LINK_DEAD: fault_proxy_drop(proxy, true, true); break;
    case LINK_BABBLES:
        fault_proxy_babble(proxy);
        fault_proxy_reset(proxy);
        break;
    }
}

void rig_link(enum link what)
{
    for (size_t i = 0; i < rig.settings.link_count; i++) {
        set_link(rig.proxies[i], what);
    }
}

void rig_link_spare(void)
{
    for (size_t i = 0; i < rig.settings.link_count; i++) {
        fault_proxy_spare(rig.proxies[i]);
    }
}

uint64_t rig_link_accepted(void)
{
    uint64_t count = 0;
    for (size_t i = 0; i < rig.settings.link_count; i++) {
        count += fault_proxy_accepted(rig.proxies[i]);
    }
    return count;
}

/* ---- commands ---- */

static void run_command(char *const *command)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* Its words belong to the test's log; what this process ignores, it must not. */
        dup2(STDERR_FILENO, STDOUT_FILENO);
        signal(SIGPIPE, SIG_DFL);
        execv(command[0], command);
        _exit(127);
    }
    int status = -1;
    RIG_UNTIL_WITHIN(120000, waitpid(pid, &status, WNOHANG) == pid);
    if (status != 0) {
        fail_msg("%s %s %s: status %x", command[0], command[1], command[2], status);
    }
}

void rig_broker(const char *verb, const char *node)
{
    char *command[MAX_ARGUMENTS] = {"tools/broker", (char *)verb,
                                    (char *)rig.settings.engine->name};
    size_t count = 3;
    for (size_t i = 0; i < rig_data_servers(); i++) {
        if (!node || strcmp(node, rig_data_server(i)) == 0) {
            command[count++] = (char *)rig_data_server(i);
        }
    }
    if (strcmp(verb, "kill") == 0 || strcmp(verb, "pause") == 0) {
        rig.broker_is_hurt = true;
    }
    run_command(command);
    if (rig.broker_is_hurt && !node) {
        rig.broker_is_hurt = strcmp(verb, "start") != 0 && strcmp(verb, "resume") != 0;
    }
}

void rig_meddle(const char *what)
{
    char queues[12];
    snprintf(queues, sizeof(queues), "%u", rig.nodes[0]->queue_count);
    run_command((char *[]){"tests/bus/meddle", (char *)rig.settings.engine->name, (char *)what,
                           rig.fresh_name, queues, NULL});
}

static bool holds_messages(const struct settings_link *link)
{
    return strcmp(link->node, "names") != 0 && strcmp(link->node, "sentinel") != 0;
}

size_t rig_data_servers(void)
{
    size_t count = 0;
    for (size_t i = 0; i < rig.settings.link_count; i++) {
        count += holds_messages(&rig.settings.links[i]);
    }
    return count;
}

const char *rig_data_server(size_t index)
{
    for (size_t i = 0; i < rig.settings.link_count; i++) {
        if (holds_messages(&rig.settings.links[i]) && index-- == 0) {
            return rig.settings.links[i].node;
        }
    }
    return NULL;
}
