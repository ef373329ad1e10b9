/* The HTTP request of `tidegate push`: POST /v1/messages. Pure but for the caller's buffer. */
#ifndef TIDEGATE_CLI_PUSH_REQUEST_H
#define TIDEGATE_CLI_PUSH_REQUEST_H

#include "base/buf.h"
#include "cli/push_options.h"

/* Appends {"to":…,"type":…,"data":…}; data as they were given. */
int push_request_write_body(struct buf *out, const struct push_options *options);

/* Appends head and body; key "" sends no Authorization. 0 or the buffer's failure. */
int push_request_write(struct buf *out, const struct push_options *options, const char *key);

#endif
