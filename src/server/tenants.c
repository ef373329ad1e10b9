#include "server/tenants.h"

#include "base/err.h"
#include "base/mem.h"
#include "server/custom_family.h"

static struct tenant *find_any(const struct tenants *tenants, struct str name)
{
    for (uint32_t i = 0; tenants && i < tenants->count; i++) {
        if (str_equal(str_of(tenants->items[i].name), name)) {
            return &tenants->items[i];
        }
    }
    return NULL;
}

/* previous: of the same name; NULL: it is new. */
static int add_name(struct tenants *tenants, struct str name, const struct tenant *previous)
{
    struct tenant *added = &tenants->items[tenants->count];
    added->id = (uint16_t)tenants->count++;
    added->name = mem_strndup(name.ptr, name.len);
    added->quota = previous ? quota_ref(previous->quota) : quota_create();
    return added->name && added->quota ? 0 : ERR_NO_MEMORY;
}

/* The names of before keep their places, the new ones follow. */
static int add_names(struct tenants *tenants, const struct settings *settings,
                     const struct tenants *previous)
{
    int err = 0;
    for (uint32_t i = 0; previous && i < previous->count && !err; i++) {
        err = add_name(tenants, str_of(previous->items[i].name), &previous->items[i]);
    }
    for (size_t i = 0; i < settings->app_count && !err; i++) {
        if (!find_any(tenants, settings->apps[i].name)) {
            err = add_name(tenants, settings->apps[i].name, NULL);
        }
    }
    return err;
}

static int fill_in(struct tenants *tenants, const struct tenants_options *options)
{
    const struct settings *settings = options->settings;
    int err = 0;
    for (size_t i = 0; i < settings->app_count && !err; i++) {
        struct tenant *tenant = find_any(tenants, settings->apps[i].name);
        struct keyring_options keyring = {.loop = options->loop,
                                          .fetcher = options->fetcher,
                                          .mailbox = options->mailbox,
                                          .app = &settings->apps[i]};
        tenant->settings = &settings->apps[i];
        err = keyring_create(&tenant->keyring, &keyring);
        err = err ? err : meter_create(&tenant->meter, tenant->settings, tenant->name, tenant->id);
    }
    return err;
}

int tenants_create(struct tenants **out_tenants, const struct tenants_options *options)
{
    const struct tenants *previous = options->previous;
    size_t most = options->settings->app_count + (previous ? previous->count : 0);
    if (most > UINT16_MAX) {
        return ERR_TOO_LARGE;
    }
    struct tenants *tenants = mem_zalloc(sizeof(*tenants));
    struct tenant *items = mem_zalloc(sizeof(*items) * (most + 1));
    if (!tenants || !items) {
        mem_free(tenants);
        mem_free(items);
        return ERR_NO_MEMORY;
    }
    tenants->items = items;
    tenants->settings = settings_ref(options->settings);
    int err = add_names(tenants, options->settings, previous);
    err = err ? err : fill_in(tenants, options);
    if (err) {
        tenants_destroy(tenants);
        return err;
    }
    *out_tenants = tenants;
    return 0;
}

void tenants_destroy(struct tenants *tenants)
{
    if (!tenants) {
        return;
    }
    for (uint32_t i = 0; i < tenants->count; i++) {
        keyring_destroy(tenants->items[i].keyring);
        quota_unref(tenants->items[i].quota);
        meter_destroy(tenants->items[i].meter);
        mem_free(tenants->items[i].name);
    }
    settings_unref(tenants->settings);
    mem_free(tenants->items);
    mem_free(tenants);
}

void tenants_show_metrics(const struct tenants *tenants)
{
    custom_families_begin();
    for (uint32_t i = 0; i < tenants->count; i++) {
        struct meter *meter = tenants->items[i].meter;
        if (meter && meter_custom(meter)) {
            custom_metrics_want(meter_custom(meter));
        }
    }
    custom_families_end();
}

bool tenants_are_complete(const struct tenants *tenants)
{
    for (uint32_t i = 0; i < tenants->count; i++) {
        const struct keyring *keyring = tenants->items[i].keyring;
        if (keyring && !keyring_is_complete(keyring)) {
            return false;
        }
    }
    return true;
}

const struct tenant *tenants_find(const struct tenants *tenants, struct str name)
{
    const struct tenant *found = find_any(tenants, name);
    return found && found->settings ? found : NULL;
}

const struct tenant *tenants_only(const struct tenants *tenants)
{
    const struct tenant *only = NULL;
    for (uint32_t i = 0; i < tenants->count; i++) {
        if (tenants->items[i].settings) {
            if (only) {
                return NULL;
            }
            only = &tenants->items[i];
        }
    }
    return only;
}
