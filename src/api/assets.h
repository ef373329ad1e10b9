/* Files that the binary carries: the API's description and everything below web/. Constant, for any
 * thread. */
#ifndef TIDEGATE_API_ASSETS_H
#define TIDEGATE_API_ASSETS_H

#include <stddef.h>

#include "base/str.h"

struct asset {
    const char *path;         /* of the URL: "/demo/", "/demo/push", "/v1/openapi.json" */
    const char *content_type; /* ready for the header */
    struct str body;          /* never empty */
    struct str gzip;          /* the body compressed; empty where that saves nothing */
    const char *etag;         /* of the body, with its quotes: strong (RFC 9110 8.8.3) */
};

/* The asset of exactly this path, without a query; NULL when there is none. */
const struct asset *asset_find(struct str path);

/* The table itself, made at build time (cmake/embed.cmake). */
extern const struct asset assets_embedded[];
extern const size_t assets_embedded_count;

#endif
