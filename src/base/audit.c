#include "base/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/log_line.h"
#include "base/log_private.h"
#include "base/log_rate.h"
#include "base/log_stream.h"
#include "base/mem.h"

enum { FLUSH_MS = 1000, FILE_MODE = 0600, NAME_MAX_BYTES = 4096 };
enum audit_mode { AUDIT_OFF, AUDIT_STDERR, AUDIT_FILE };

static char memory[256 * 1024];
static struct log_stream stream = LOG_STREAM_INIT(memory, -1);
static _Atomic int mode = AUDIT_OFF;
static _Atomic uint64_t lines;
static pthread_mutex_t rate_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_rate rate; /* of callers that have not the right */

static const char *const result_names[] = {
    [AUDIT_DONE] = "done", [AUDIT_REFUSED] = "refused", [AUDIT_FAILED] = "failed"};

static bool may_speak(const struct audit_act *act, uint64_t *out_suppressed)
{
    bool is_denied = act->key.len == 0 || act->status == 401 || act->status == 403;
    if (act->result != AUDIT_REFUSED || !is_denied) {
        return true;
    }
    pthread_mutex_lock(&rate_lock);
    bool allowed = log_rate_allow(&rate, act->action, 0, clock_monotonic_ms(), out_suppressed);
    pthread_mutex_unlock(&rate_lock);
    return allowed;
}

static struct str or_dash(struct str text)
{
    return text.len ? text : STR("-");
}

static void write_message(char out[static LOG_MESSAGE_MAX], const struct audit_act *act)
{
    snprintf(out, LOG_MESSAGE_MAX, "%.*s by %.*s from %.*s: %s %.*s: %s",
             STR_ARG(or_dash(act->key)), STR_ARG(or_dash(act->via)), STR_ARG(or_dash(act->peer)),
             act->action, STR_ARG(or_dash(act->target)), result_names[act->result]);
}

static size_t build(char out[static LOG_LINE_MAX], const struct audit_act *act, uint64_t suppressed)
{
    char message[LOG_MESSAGE_MAX];
    char status[16] = "";
    write_message(message, act);
    if (act->status) {
        snprintf(status, sizeof(status), "%d", act->status);
    }
    const struct log_pair pairs[] = {
        {"node", log_node(), false},
        {"result", str_of(result_names[act->result]), false},
        {"app", act->app, false},
        {"key", act->key, false},
        {"role", act->role, false},
        {"via", act->via, false},
        {"peer", act->peer, false},
        {"code", act->code, false},
        {"status", str_of(status), true},
        {"request_id", act->request_id, false},
        {"trace_id", act->trace_id, false},
        {"target", act->target, false}, /* the longest comes last, in case it is cut */
    };
    const struct log_line line = {.wall_ms = clock_wall_ms(),
                                  .level = LOG_AUDIT_LEVEL,
                                  .event = str_of(act->action),
                                  .pairs = pairs,
                                  .pair_count = sizeof(pairs) / sizeof(pairs[0]),
                                  .message = str_of(message),
                                  .suppressed = suppressed};
    return log_line_build(out, &line);
}

void audit(const struct audit_act *act)
{
    int saved_errno = errno;
    int now = atomic_load(&mode);
    uint64_t suppressed = 0;
    if (now == AUDIT_OFF || !may_speak(act, &suppressed)) {
        return;
    }
    atomic_fetch_add(&lines, 1);
    char text[LOG_LINE_MAX];
    size_t len = build(text, act, suppressed);
    if (now == AUDIT_FILE) {
        log_stream_write(&stream, text, len);
    } else {
        log_write_raw(text, len);
    }
    errno = saved_errno;
}

/* ---- acts that take their time ---- */

static void move_text(char **at, struct str *text)
{
    if (text->len > 0) {
        memcpy(*at, text->ptr, text->len);
        text->ptr = *at;
        *at += text->len;
    }
}

/* Its texts follow in the same memory. */
struct audit_act *audit_begin(const struct audit_act *act)
{
    size_t bytes = act->app.len + act->key.len + act->role.len + act->via.len + act->peer.len +
                   act->target.len + act->request_id.len + act->trace_id.len;
    struct audit_act *copy = mem_alloc(sizeof(*copy) + bytes);
    if (!copy) {
        return NULL;
    }
    *copy = *act;
    char *at = (char *)(copy + 1);
    move_text(&at, &copy->app);
    move_text(&at, &copy->key);
    move_text(&at, &copy->role);
    move_text(&at, &copy->via);
    move_text(&at, &copy->peer);
    move_text(&at, &copy->target);
    move_text(&at, &copy->request_id);
    move_text(&at, &copy->trace_id);
    copy->code = STR("");
    return copy;
}

void audit_end(struct audit_act *act, int status, struct str code)
{
    if (!act) {
        return;
    }
    act->status = status;
    act->code = code;
    act->result = status < 400 ? AUDIT_DONE : status < 500 ? AUDIT_REFUSED : AUDIT_FAILED;
    audit(act);
    mem_free(act);
}

/* ---- where ---- */

/* As it is: no rate and no level holds it back. */
static void on_lost(const char *line, size_t len)
{
    log_error("audit.lost", "the audit log can't be written; its lines go to this log");
    log_write_raw(line, len);
}

static int open_file(struct str name, int *out_fd)
{
    char path[NAME_MAX_BYTES];
    if (name.len >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    memcpy(path, name.ptr, name.len);
    path[name.len] = '\0';
    /* Not to wait for the reader of a FIFO. */
    *out_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                   FILE_MODE);
    return *out_fd < 0 ? -errno : 0;
}

static int switch_to_file(struct str name)
{
    int fd;
    int err = open_file(name, &fd);
    if (err) {
        return err;
    }
    stream.on_lost = on_lost;
    err = log_stream_start(&stream, -1);
    if (err && err != ERR_EXISTS) {
        close(fd);
        return err;
    }
    log_stream_switch(&stream, fd);
    atomic_store(&mode, AUDIT_FILE);
    return 0;
}

static bool is_file(struct str destination)
{
    return destination.len > 0 && !str_equal(destination, STR("stderr"));
}

int audit_check(struct str destination)
{
    int fd = -1;
    int err = is_file(destination) ? open_file(destination, &fd) : 0;
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

int audit_open(struct str destination)
{
    if (is_file(destination)) {
        return switch_to_file(destination);
    }
    atomic_store(&mode, destination.len ? AUDIT_STDERR : AUDIT_OFF);
    log_stream_stop(&stream, FLUSH_MS, -1);
    return 0;
}

void audit_close(void)
{
    audit_open(STR(""));
}

uint64_t audit_lines(void)
{
    return atomic_load(&lines);
}

uint64_t audit_lines_lost(void)
{
    return log_stream_lost(&stream) + log_raw_lost();
}
