/* What is read is written the same, packs and unpacks, and a tracestate that is taken stays within
 * its bounds. */
#include "base/err.h"
#include "proto/trace_context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct trace_context *context)
{
    char text[TRACE_PARENT_LEN];
    uint8_t packed[TRACE_PACKED_LEN];
    struct trace_context again;
    trace_parent_format(text, context);
    ASSERT(trace_parent_parse(&again, str_make(text, sizeof(text))));
    ASSERT(memcmp(&again, context, sizeof(again)) == 0);
    trace_context_pack(packed, context);
    ASSERT(trace_context_unpack(&again, str_make(packed, sizeof(packed))));
    ASSERT(memcmp(&again, context, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make(data, size);
    struct trace_context context;
    if (trace_parent_parse(&context, text)) {
        check_round_trip(&context);
    }
    if (trace_context_unpack(&context, text)) {
        check_round_trip(&context);
    }
    if (trace_state_is_sound(text)) {
        ASSERT(size <= TRACE_STATE_MAX && !memchr(data, '\0', size) && !memchr(data, '\n', size));
    }
    return 0;
}
