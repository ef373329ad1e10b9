/* What a case of the contract suite stands on: one loop, the nodes and writers on it, and the
 * servers of the bus, which can be killed, paused and cut off. A case opens the rig, and closing it
 * leaves nothing: also behind a case that failed half way, all servers run again.
 *
 * There is no sleep: RIG_UNTIL turns the loop until its condition holds, and fails the case with
 * the condition's text when RIG_PATIENCE_MS are over. */
#ifndef TIDEGATE_TESTS_BUS_RIG_H
#define TIDEGATE_TESTS_BUS_RIG_H

#include "audit.h"

enum { RIG_MAX_NODES = 24, RIG_MAX_WRITERS = 1100, RIG_PATIENCE_MS = 30000 };

struct rig {
    struct settings settings; /* of the whole run */
    int argc;                 /* what settings was read from: for a second process */
    char **argv;
    struct loop *loop;
    struct fault_proxy *proxies[SETTINGS_MAX_LINKS]; /* one a link of settings */
    char fresh_name[48];
    struct node *nodes[RIG_MAX_NODES];
    size_t node_count;
    struct writer *writers[RIG_MAX_WRITERS];
    size_t writer_count;
    uint32_t next_writer_id;
    uint64_t opened_ms;
    bool broker_is_hurt; /* killed or paused, and not yet back */
};

extern struct rig rig;

/* cmocka's setup and teardown of each case. */
int rig_open(void **state);
int rig_close(void **state);

struct node *rig_node(const struct node_setup *setup);
struct node *rig_node_up(const char *name); /* and turns until it is up with all its queues */
void rig_until_up(uint64_t patience_ms);    /* all nodes, with all their queues */
void rig_until_down(uint64_t patience_ms);  /* all nodes */
struct writer *rig_writer(struct node *node, uint32_t queue);

/* One turn of everything: writers publish, buses flush, the loop waits for at most 20 ms. */
void rig_turn(void);
void rig_turn_or_fail(uint64_t end_ms, const char *condition, const char *file, int line);
uint64_t rig_now_ms(void);

#define RIG_UNTIL_WITHIN(patience_ms, condition)                          \
    do {                                                                  \
        uint64_t rig_end_ms = rig_now_ms() + (patience_ms);               \
        while (!(condition)) {                                            \
            rig_turn_or_fail(rig_end_ms, #condition, __FILE__, __LINE__); \
        }                                                                 \
    } while (0)
#define RIG_UNTIL(condition) RIG_UNTIL_WITHIN(RIG_PATIENCE_MS, condition)

/* Every writer has what it wanted. */
bool rig_writers_are_done(void);
void rig_write(struct writer *writer, size_t more); /* it wants so many more */

/* ---- a stream: on all queues of a node, one record after the other until it is told to stop ----
 */

void rig_stream(struct node *node, uint64_t deadline_ms);
/* Turns until each writer has so many more of what is asked, counted from now. */
void rig_stream_until_acknowledged(size_t more);
void rig_stream_until_failed(size_t more);
void rig_stream_stop(void);    /* and turns until nothing is under way */
void rig_forget_writers(void); /* ended; what they wrote is not audited any more */

/* Over all nodes and writers of the case: turns until it is settled, then the audit. A bus that is
 * not lossless may have holes too when it has lost a link. */
void rig_audit(bool may_have_holes);
struct audit rig_whole(void);

/* ---- links: between the nodes of this process and all servers ---- */

enum link {
    LINK_CARRIES, /* and what was held back goes on */
    LINK_CUT,     /* connections are reset, and nobody listens */
    LINK_DEAF,    /* nothing gets to the server; what it says arrives */
    LINK_MUTE,    /* nothing comes from the server; what it is told arrives */
    LINK_DEAD,    /* neither; connections stand, new ones are accepted */
    LINK_BABBLES, /* connections are reset, new ones get bytes that no server says */
};

bool rig_has_links(void);
void rig_link(enum link what);
/* Who is connected stays so, whatever rig_link does until it carries again. */
void rig_link_spare(void);
uint64_t rig_link_accepted(void); /* connections ever, of all links */

/* ---- servers ---- */

/* tools/broker VERB ENGINE NODE, while the loop turns. NULL: every server that holds messages. */
void rig_broker(const char *verb, const char *node);
/* tests/bus/meddle WHAT, on all queues: what another client of the server would do. */
void rig_meddle(const char *what);
size_t rig_data_servers(void); /* how many hold messages */
const char *rig_data_server(size_t index);

#endif
