/* The apps as the running gateway knows them: their settings, their token keys, and a number that
 * stays the same over reloads. Made and destroyed by the main thread; workers read. */
#ifndef TIDEGATE_SERVER_TENANTS_H
#define TIDEGATE_SERVER_TENANTS_H

#include <stdint.h>

#include "core/settings.h"
#include "server/keyring.h"
#include "server/meter.h"
#include "server/quota.h"

struct tenant {
    const struct settings_app *settings; /* NULL: was taken out of the configuration */
    struct keyring *keyring;             /* owned; NULL when settings is */
    struct quota *quota;                 /* a reference: what it uses, kept over reloads */
    struct meter *meter;                 /* owned; NULL when settings is */
    char *name;                          /* owned */
    uint16_t id;                         /* index */
};

struct tenants {
    struct settings *settings; /* a reference: the apps point into it */
    struct tenant *items;
    uint32_t count;
};

struct tenants_options {
    struct settings *settings;      /* a reference is taken */
    const struct tenants *previous; /* its numbers stay; NULL: none */
    struct loop *loop;              /* for key sets that are fetched; as in keyring.h */
    struct fetcher *fetcher;
    struct mailbox *mailbox;
};

/* 0, ERR_NO_MEMORY, ERR_TOO_LARGE, or what a key was refused with (logged with its place). */
int tenants_create(struct tenants **out_tenants, const struct tenants_options *options);

/* No worker may use it any more. NULL is fine. */
void tenants_destroy(struct tenants *tenants);

/* From now on scrapes see the metrics that these apps define, and no others. */
void tenants_show_metrics(const struct tenants *tenants);

/* Every key set that has a URL was fetched once. */
bool tenants_are_complete(const struct tenants *tenants);

/* NULL when there is none of that name, or it was taken out. */
const struct tenant *tenants_find(const struct tenants *tenants, struct str name);

/* The only app there is; NULL when there are none or several. */
const struct tenant *tenants_only(const struct tenants *tenants);

#endif
