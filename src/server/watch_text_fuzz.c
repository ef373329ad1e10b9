/* Any bytes as a frame of a watched session: what is shown has no secret left in it, is a frame
 * still, and is shown again as the same; what is cut is whole characters. */
#include <stdlib.h>

#include "base/err.h"
#include "proto/json.h"
#include "server/watch_text.h"

enum { DEPTH = 16 };

static void check_frame(struct json_value frame)
{
    static const char *const secrets[] = {"token", "claim", "grant", "grants", "ticket"};
    struct json_iter iter;
    struct json_value key;
    struct json_value value;
    json_iter_init(&iter, frame);
    while (json_next(&iter, &key, &value)) {
        for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
            ASSERT(!json_equals(key, str_of(secrets[i])) ||
                   str_equal(value.raw, STR(WATCH_HIDDEN)));
        }
    }
}

static void check_shown(struct str shown)
{
    struct json_value value;
    struct json_value item;
    struct json_iter iter;
    ASSERT(json_parse(&value, shown, DEPTH, NULL) == 0);
    if (value.type == JSON_TYPE_OBJECT) {
        check_frame(value);
        return;
    }
    json_iter_init(&iter, value);
    while (json_next(&iter, NULL, &item)) {
        check_frame(item);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf shown = {0};
    struct buf again = {0};
    bool has_secret;
    struct str text = str_make((const char *)data, size);
    if (watch_text_redact(&shown, text, DEPTH, &has_secret)) {
        check_shown(buf_str(&shown));
        ASSERT(watch_text_redact(&again, buf_str(&shown), DEPTH, &has_secret));
        ASSERT(str_equal(buf_str(&shown), buf_str(&again)));
    } else {
        ASSERT(shown.len == 0);
    }
    struct str cut = watch_text_cut(text, size / 2);
    ASSERT(cut.len <= size / 2);
    ASSERT(cut.len == size || (data[cut.len] & 0xc0) != 0x80 || cut.len == 0);
    buf_fini(&shown);
    buf_fini(&again);
    return 0;
}
