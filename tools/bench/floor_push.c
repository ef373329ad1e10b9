/* The floor of HTTP pushes: one thread that parses the request, finds the user, sends one frame to
 * that user's socket and answers 202. It holds one session a user, the newest.
 *
 *   floor_push PORT */
#include <stdlib.h>
#include <string.h>

#include "bench_util.h"
#include "floor.h"

static int fd_of_user[FLOOR_MAX_DESCRIPTORS]; /* 0: the user has no session */

static void add_session(int fd, uint32_t user)
{
    if (user >= FLOOR_MAX_DESCRIPTORS) {
        bench_die("a user above u%d", FLOOR_MAX_DESCRIPTORS - 1);
    }
    fd_of_user[user] = fd;
}

static void remove_session(int fd, uint32_t user)
{
    if (fd_of_user[user] == fd) {
        fd_of_user[user] = 0;
    }
}

static void send_to_user(uint64_t user, struct floor_span payload)
{
    uint8_t frame[FLOOR_MAX_FRAME_HEADER + 8192];
    if (user >= FLOOR_MAX_DESCRIPTORS || !fd_of_user[user]) {
        return;
    }
    if (payload.len > 8192) {
        bench_die("a payload of %zu bytes is more than this floor sends", payload.len);
    }
    size_t header_len = floor_frame_header(frame, payload.len, false);
    memcpy(frame + header_len, payload.text, payload.len);
    floor_send(fd_of_user[user], frame, header_len + payload.len);
}

/* list is what stands in ["u1","u2"] from the first quote on. */
static void send_to_list(const char *list, const char *end, struct floor_span payload)
{
    while (list < end && *list == '"') {
        uint64_t user = UINT64_MAX;
        if (end - list > 2 && list[1] == 'u') {
            bench_get_u64(list + 2, end, &user);
        }
        send_to_user(user, payload);
        const char *comma = memchr(list + 1, '"', (size_t)(end - list - 1));
        list = comma ? comma + 2 : end;
    }
}

/* One push or a batch of them: every "users":[...] is followed by its "data":{...}. */
static void push_json(struct floor_span body)
{
    static const char label[] = "\"users\":[";
    size_t at = 0;
    for (;;) {
        char *users = memmem(body.text + at, body.len - at, label, sizeof(label) - 1);
        if (!users) {
            return;
        }
        const char *list = users + sizeof(label) - 1;
        at = (size_t)(list - body.text);
        const char *list_end = memchr(list, ']', body.len - at);
        struct floor_span payload = floor_next_data(body, &at);
        if (!list_end || !payload.text) {
            return;
        }
        send_to_list(list, list_end, payload);
    }
}

static void push(struct floor_span path, struct floor_span body)
{
    static const char raw_path[] = "/v1/users/u";
    uint64_t user;
    if (path.len > sizeof(raw_path) - 1 && memcmp(path.text, raw_path, sizeof(raw_path) - 1) == 0) {
        bench_get_u64(path.text + sizeof(raw_path) - 1, path.text + path.len, &user);
        send_to_user(user, body);
        return;
    }
    push_json(body);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        bench_die("usage: floor_push PORT");
    }
    const struct floor_hooks hooks = {add_session, remove_session, push};
    floor_serve((uint16_t)atoi(argv[1]), false, &hooks);
}
