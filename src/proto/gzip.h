/* Compresses a whole body as gzip (RFC 1952), for requests to others. Pure. */
#ifndef TIDEGATE_PROTO_GZIP_H
#define TIDEGATE_PROTO_GZIP_H

#include "base/buf.h"

/* Appends it. 0, ERR_NO_MEMORY, or ERR_TOO_LARGE when it is over out's limit. */
int gzip_append(struct buf *out, struct str data);

#endif
