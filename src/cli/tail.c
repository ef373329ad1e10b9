#include "cli/cli.h"

#include <errno.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/tail_session.h"
#include "cli/tail_target.h"

static int load_token(struct tail *tail)
{
    int err = secret_read(&tail->token, tail->options.token_file, "TIDEGATE_TOKEN");
    if (err && err != ERR_NOT_FOUND) {
        args_complain("tail",
                      "the token in %s can't be used: %s; it is one line of visible characters",
                      tail->options.token_file ? tail->options.token_file : "TIDEGATE_TOKEN",
                      err == ERR_SYNTAX ? "empty, or other characters in it" : err_str(err));
        return EXIT_CODE_USAGE;
    }
    return 0;
}

/* Waits before the next try. 0 or ERR_CANCELED. */
static int wait_to_retry(struct tail *tail, const struct tail_verdict *verdict)
{
    uint64_t random = 0;
    if (verdict->action == TAIL_RETRY_NOW && tail->backoff.tries == 0) {
        tail->backoff.tries = 1;
        return 0;
    }
    (void)!getrandom(&random, sizeof(random), 0);
    uint64_t wait_ms = backoff_next_ms(&tail->backoff, random);
    args_complain("tail", "%s; trying again in %u ms",
                  verdict->words ? verdict->words : "the connection ended", (unsigned)wait_ms);
    int err = interrupt_poll(NULL, 0, clock_monotonic_ms() + wait_ms);
    return err == ERR_CANCELED ? err : 0;
}

static bool may_retry(struct tail *tail, const struct tail_verdict *verdict)
{
    if (verdict->action == TAIL_NEW_TOKEN) {
        return !tail->options.no_reconnect && tail_renew_token(tail);
    }
    return verdict->action != TAIL_STOP && !tail->options.no_reconnect && tail->ever_connected;
}

static int run(struct tail *tail)
{
    for (;;) {
        struct tail_verdict verdict = tail_session_run(tail);
        if (tail->output_err) {
            args_complain("tail", "can't write to standard output: %s", err_str(tail->output_err));
            return EXIT_CODE_INTERNAL;
        }
        if (!may_retry(tail, &verdict)) {
            if (verdict.words) {
                args_complain("tail", "%s", verdict.words);
            }
            return verdict.exit_code;
        }
        if (wait_to_retry(tail, &verdict)) {
            return EXIT_CODE_OK;
        }
    }
}

static int prepare(struct tail *tail)
{
    tail->state.as_json = tail->options.json;
    tail->state.limit = tail->options.count;
    tail->backoff = (struct backoff){.base_ms = 500, .max_ms = 30000};
    if (tail_state_init(&tail->state) || interrupt_watch()) {
        args_complain("tail", "can't start: %s", err_str(-errno));
        return EXIT_CODE_INTERNAL;
    }
    return tail->options.by_key ? 0 : load_token(tail);
}

int cli_tail(int argc, char **argv)
{
    int code = EXIT_CODE_INTERNAL;
    struct tail *tail = mem_zalloc(sizeof(*tail));
    if (tail && tail_options_read(&tail->options, argc, argv, &code)) {
        code = prepare(tail);
        code = code                   ? code
               : tail->options.by_key ? tail_target_run(&tail->options, &tail->state)
                                      : run(tail);
    }
    if (tail) {
        secret_wipe(&tail->token);
        tail_sink_fini(&tail->sink);
        tail_options_fini(&tail->options);
    }
    mem_free(tail);
    return code;
}
