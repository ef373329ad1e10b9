/* What `tidegate push` was asked to do: arguments read, checked, and the data at hand. */
#ifndef TIDEGATE_CLI_PUSH_OPTIONS_H
#define TIDEGATE_CLI_PUSH_OPTIONS_H

#include "base/buf.h"
#include "cli/args.h"
#include "cli/url.h"

enum { PUSH_DATA_MAX = 16 * 1024 * 1024 };

struct push_options {
    struct args_list users, groups, sessions, tickets;
    bool all;
    bool is_final;
    bool json;
    const char *type; /* this and the next: NULL when not given; borrowed from argv */
    const char *id;
    const char *wait;
    const char *collapse;
    const char *key_file;
    const char *ca_file;
    uint64_t ttl_ms; /* 0: not given */
    uint64_t timeout_ms;
    struct url url;
    struct buf data; /* one JSON value, checked */
};

/* False: return *out_exit; what there is to say was said. Reads the file or stdin when the data are
 * there. End with push_options_fini in both cases. */
bool push_options_read(struct push_options *out_options, int argc, char **argv, int *out_exit);
void push_options_fini(struct push_options *options);

#endif
