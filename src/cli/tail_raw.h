/* Prints the payloads of a raw session, one a line. Pure but for the caller's buffer. */
#ifndef TIDEGATE_CLI_TAIL_RAW_H
#define TIDEGATE_CLI_TAIL_RAW_H

#include <stdbool.h>

#include "base/buf.h"
#include "proto/ws_frame.h"

/* JSON as it came; other text with its control bytes made harmless, or, as_json, as a JSON string;
 * binary as base64, or, as_json, as {"base64":"…"}. */
void tail_raw_write(struct buf *out, enum ws_opcode opcode, struct str payload, bool as_json);

#endif
