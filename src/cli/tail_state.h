/* The client's side of tidegate.v1.json, as `tidegate tail` needs it: takes frames, keeps what a
 * resume needs (epoch, the last position of each queue, the ids seen), and says what to print and
 * what to answer. Pure but for the caller's buffers. */
#ifndef TIDEGATE_CLI_TAIL_STATE_H
#define TIDEGATE_CLI_TAIL_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/siphash.h"
#include "base/str.h"

enum {
    TAIL_NAME_MAX = 96, /* bytes of an epoch, a queue's name, a position; with the NUL */
    TAIL_QUEUES_MAX = 1024,
    TAIL_SEEN_IDS = 4096, /* ids remembered, so that a repeat is shown once */
    TAIL_JSON_DEPTH = 128,
};

struct tail_position {
    char queue[TAIL_NAME_MAX];
    char position[TAIL_NAME_MAX];
};

struct tail_state {
    bool as_json; /* print frames as they are, else messages alone, in columns */

    char epoch[TAIL_NAME_MAX]; /* "": never welcomed */
    struct tail_position positions[TAIL_QUEUES_MAX];
    size_t position_count;
    struct siphash_key seen_key;
    uint64_t seen[TAIL_SEEN_IDS]; /* a ring of keyed hashes; 0: none */
    size_t seen_at;

    uint64_t messages; /* shown so far */
    uint64_t limit;    /* stop showing there; 0: never */

    /* Of the connection at hand. */
    bool welcomed;
    bool going_away;
    bool token_expiring;
    uint64_t slot_ms; /* going_away: leave after this time */
    uint64_t ping_ms;
    uint64_t retry_base_ms;
    uint64_t retry_max_ms;
};

/* Zeroed memory, then this; draws the key of the ring. 0 or -errno. */
int tail_state_init(struct tail_state *state);

/* Forgets what belongs to a connection; keeps what a resume needs. */
void tail_state_reset_connection(struct tail_state *state);

/* What a frame makes: lines for stdout, lines for stderr, and at most one frame to send back. */
struct tail_sink {
    struct buf out;
    struct buf words;
    struct buf answer;
};
void tail_sink_fini(struct tail_sink *sink);

/* One text frame: an object or an array of them. ERR_SYNTAX when it is neither: the peer is not
 * tidegate. The sink's own failures show in its buffers. */
int tail_state_on_text(struct tail_state *state, struct str text, struct tail_sink *sink);

static inline bool tail_state_is_done(const struct tail_state *state)
{
    return state->limit > 0 && state->messages >= state->limit;
}

/* Appends the hello frame: groups to join, and the resume when there is something to resume. */
int tail_state_write_hello(const struct tail_state *state, struct buf *out,
                           const char *const *groups, size_t group_count);

/* Appends a frame that puts a new token in the old one's place. */
int tail_state_write_refresh(struct buf *out, const char *token);

#endif
