/* What is wrong with a configuration: a list of mistakes and warnings, each with its place. Up to
 * CONFIG_REPORT_MAX of a kind are kept, the rest is counted. Pure. */
#ifndef TIDEGATE_APP_CONFIG_REPORT_H
#define TIDEGATE_APP_CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

enum { CONFIG_REPORT_MAX = 20 };

/* Where in the file; both count from 1. line 0: not in the file. */
struct config_place {
    unsigned line;
    unsigned column;
};

struct config_remark {
    bool is_warning;
    struct config_place place;
    char *key;  /* "limits.message", "TIDEGATE_LIMITS_MESSAGE", or "" for the file as a whole */
    char *text; /* `expected a size such as "64KiB", got "64 kilos"` */
};

struct config_report {
    struct str file; /* borrowed; the name to show */
    struct config_remark remarks[2 * CONFIG_REPORT_MAX];
    size_t count;    /* of remarks kept */
    size_t mistakes; /* found, kept or not */
    size_t warnings;
    int err; /* ERR_NO_MEMORY when a remark was lost for that reason */
};

void config_report_init(struct config_report *report, struct str file);
void config_report_fini(struct config_report *report);

/* Appends a remark. format must not be given secrets; peers' texts go through config_quote. */
void config_report_add(struct config_report *report, bool is_warning, struct config_place place,
                       struct str key, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* One line a remark: `FILE:12:18: limits.message: expected …`, warnings as `FILE:3:1: warning: …`;
 * then `FILE: and 3 more mistakes` when some were not kept. */
void config_report_lines(const struct config_report *report, struct buf *out);

/* `{"file":…,"ok":…,"mistakes":[{"line":…,"column":…,"key":…,"text":…}],"warnings":[…]}` and a
 * line end. line and column are absent when the place is not in the file. */
void config_report_json(const struct config_report *report, struct buf *out);

/* text in quotes, control bytes escaped, cut after 60 bytes: what an unknown text may look like in
 * a message. Returns out. */
enum { CONFIG_QUOTE_MAX = 4 * 60 + 8 };
const char *config_quote(struct str text, char out[CONFIG_QUOTE_MAX]);

#endif
