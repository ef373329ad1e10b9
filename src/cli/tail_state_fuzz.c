/* Any text frame from a gateway: what is printed is whole lines of text, what is sent back is JSON.
 */
#include "cli/tail_state.h"

#include "base/err.h"
#include "proto/json.h"
#include "proto/utf8.h"

static void check_lines(const struct buf *out)
{
    ASSERT(out->len == 0 || out->data[out->len - 1] == '\n');
    ASSERT(utf8_is_valid(buf_str(out)));
}

static void check_json(const struct buf *out)
{
    struct json_value value;
    ASSERT(out->len == 0 || json_parse(&value, buf_str(out), JSON_MAX_DEPTH, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the format; frames are separated by NULs. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tail_state state;
    if (size == 0) {
        return 0;
    }
    state = (struct tail_state){.as_json = data[0] & 1, .limit = data[0] & 2};
    tail_state_reset_connection(&state);
    struct str rest = str_make(data + 1, size - 1);
    struct str frame;
    while (str_split(&rest, '\0', &frame)) {
        struct tail_sink sink = {0};
        int err = tail_state_on_text(&state, frame, &sink);
        ASSERT(err == 0 || (sink.out.len == 0 && sink.answer.len == 0));
        check_lines(&sink.out);
        check_lines(&sink.words);
        check_json(&sink.answer);
        tail_sink_fini(&sink);
    }
    struct buf hello = {0};
    ASSERT(tail_state_write_hello(&state, &hello, NULL, 0) == 0);
    check_json(&hello);
    buf_fini(&hello);
    return 0;
}
