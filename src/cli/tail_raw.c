#include "cli/tail_raw.h"

#include "cli/output.h"
#include "proto/base64.h"
#include "proto/json.h"

static void write_binary(struct buf *out, struct str payload, bool as_json)
{
    size_t len = base64_encoded_len(payload.len, BASE64_STANDARD);
    if (as_json) {
        buf_append_str(out, STR("{\"base64\":\""));
    }
    uint8_t *to = buf_reserve(out, len);
    if (to) {
        out->len += base64_encode((char *)to, payload.ptr, payload.len, BASE64_STANDARD);
    }
    buf_append_str(out, as_json ? STR("\"}\n") : STR("\n"));
}

static void write_text(struct buf *out, struct str payload)
{
    size_t from = out->len;
    output_append_line(out, payload);
    for (size_t i = from; i + 1 < out->len; i++) {
        if ((out->data[i] < 0x20 && out->data[i] != '\t') || out->data[i] == 0x7f) {
            out->data[i] = '?';
        }
    }
}

void tail_raw_write(struct buf *out, enum ws_opcode opcode, struct str payload, bool as_json)
{
    struct json_value value;
    if (opcode == WS_BINARY) {
        write_binary(out, payload, as_json);
    } else if (json_parse(&value, payload, JSON_MAX_DEPTH, NULL) == 0) {
        output_append_line(out, value.raw);
    } else if (as_json) {
        json_write_string(out, payload);
        buf_append_char(out, '\n');
    } else {
        write_text(out, payload);
    }
}
