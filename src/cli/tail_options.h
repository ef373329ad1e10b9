/* What `tidegate tail` was asked to do. */
#ifndef TIDEGATE_CLI_TAIL_OPTIONS_H
#define TIDEGATE_CLI_TAIL_OPTIONS_H

#include "base/buf.h"
#include "cli/args.h"
#include "cli/url.h"

struct tail_options {
    struct args_list groups;
    const char *user;   /* this and the next: NULL, or whose messages are shown, */
    const char *ticket; /* by an API key */
    bool by_key;        /* … or those of the only group */
    bool with_groups;
    uint64_t last; /* by a key: how many of before are shown */
    const char *key_file;
    const char *url_text; /* by a key; NULL: the default */
    const char *app;
    bool raw;
    bool json;
    bool no_reconnect;
    const char *token_file; /* NULL: TIDEGATE_TOKEN */
    const char *ca_file;    /* NULL: the system's authorities */
    uint64_t count;         /* 0: no end */
    uint64_t timeout_ms;    /* for connecting, and for the welcome */
    struct url url;         /* as a client */
    struct buf target;      /* path and query, the app in it */
};

/* False: return *out_exit; what there is to say was said. End with tail_options_fini in both
 * cases. */
bool tail_options_read(struct tail_options *out_options, int argc, char **argv, int *out_exit);
void tail_options_fini(struct tail_options *options);

#endif
