/* From a push to its answer: encodes the events, hands them to the bus thread, waits as far as the
 * caller asked, and answers. One struct push_task a push; it frees itself. Runs on workers. */
#ifndef TIDEGATE_API_PUSH_H
#define TIDEGATE_API_PUSH_H

#include "api/api.h"
#include "api/push_parse.h"
#include "core/publish.h"
#include "core/receipt.h"

struct push_task;
struct custom_reading;

/* What became of a push. */
struct push_outcome {
    enum publish_verdict verdict;
    int err;
    uint32_t parts;
    uint32_t accepted_parts;
    bool has_receipt;
    bool is_complete;                        /* the receipt's counts are final, and of all nodes */
    uint32_t nodes_expected, nodes_reported; /* this one included */
    uint32_t users_online, matched, written, acked, dropped;
    bool is_message; /* and no other kind of event */
};

/* Called once, on the worker, when the push is done or the wait is over. */
typedef void (*push_done_cb)(struct push_task *task, const struct push_outcome *outcome);

struct push_spans;

struct push_task {
    struct worker *worker;
    push_done_cb on_done;
    void *owner;              /* the caller's */
    uint32_t index;           /* the caller's */
    struct push_spans *spans; /* NULL: nobody follows it */
    struct publish *publish;  /* NULL once the answer is given */
    struct receipt *receipt;  /* a reference, or NULL */
    struct timer timer;
    struct worker_pending pending;
    struct metric *counted;          /* once the bus has it; NULL: it is no message */
    struct custom_reading *readings; /* that count then too; owned */
    size_t reading_count;
    uint64_t started_us;
    size_t accounted; /* bytes, as MEM_BUS */
    uint16_t app;
    bool is_published;
    bool is_timed_out;
    bool is_answered;   /* on_done was called: only the app's webhooks still wait for the receipt */
    bool answers_early; /* once published: its receipt is for them alone */
    char *watched; /* users as a JSON list, for message.undelivered; owned; NULL: nobody asks */
    struct str id; /* in memory behind the struct, like subject */
    struct str subject; /* of struct push_kind */
};

/* How an event differs from a plain message. */
struct push_kind {
    enum event_kind kind;
    struct str subject;
    bool keeps; /* see publish.keeps */
};

/* Takes one of the app's pushes a second, as all do that go to sessions through the bus. True: it
 * had none left, and that is answered. */
bool push_is_over_quota(const struct tenant *tenant, struct http_exchange *exchange);

enum { PUSH_ID_LEN = 26 };

/* An id that no other message has, for whatever this worker sends; no NUL. */
void push_make_id(struct worker *worker, char out[PUSH_ID_LEN]);

/* Starts a push (kind NULL: a message). 0: on_done follows, later. ERR_NO_MEMORY, or ERR_TOO_LARGE.
 */
int push_start(struct worker *worker, const struct tenant *tenant, const struct push *push,
               const struct push_kind *kind, push_done_cb on_done, void *owner, uint32_t index);

/* Appends "id" and "pos" (a text, or a list when the push has several parts), "replayed" and
 * "receipt". Inside on_done. */
void push_write_answer(struct buf *out, const struct push_task *task,
                       const struct push_outcome *outcome);

/* A position as answers and frames have it: "2:81723.0", quoted. */
void push_write_pos(struct buf *out, uint32_t queue, struct bus_pos at);

/* The status and code that stand for an outcome: 200, 202, 413, 422, 429, 503. */
int push_status(const struct push_outcome *outcome, const char **out_code, const char **out_detail);

/* Of a push whose owner is the exchange: answers one that failed. False: it did not. */
bool push_answer_failure(struct push_task *task, const struct push_outcome *outcome);

/* Endpoints. */
void push_handle_message(struct api_call *call); /* POST /v1/messages */
void push_handle_batch(struct api_call *call);   /* POST /v1/messages:batch */
void push_handle_user(struct api_call *call);    /* raw bodies */
void push_handle_group(struct api_call *call);
void push_handle_session(struct api_call *call);
void push_handle_ticket(struct api_call *call);
void push_handle_broadcast(struct api_call *call);

/* Frees what a worker thread keeps for reading pushes. */
void push_free_scratch(void);

/* The demo's push: a message object in the body on behalf of tenant, answered like POST
 * /v1/messages. */
void push_answer_message(struct worker *worker, const struct tenant *tenant,
                         struct http_exchange *exchange);

#endif
