/* The HTTP request of a verb that asks the API: pure but for the caller's buffer. */
#ifndef TIDEGATE_CLI_API_REQUEST_H
#define TIDEGATE_CLI_API_REQUEST_H

#include "base/buf.h"
#include "cli/url.h"

/* Appends head and body. path ("/v1/nodes", with its query) goes behind the path of the url; key ""
 * sends no Authorization; a body without .ptr is none. 0 or the buffer's failure. */
int api_request_write(struct buf *out, const struct url *url, const char *key, const char *method,
                      struct str path, struct str body);

/* Appends "?name=value" or "&name=value", encoded. */
void api_request_add_option(struct buf *path, const char *name, struct str value);

#endif
