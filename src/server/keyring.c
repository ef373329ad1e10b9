#include "server/keyring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

/* One URL. */
struct source {
    struct keyring *keyring;
    const struct settings_jwt_key *configured; /* borrowed */
    struct fetch *fetch;                       /* under way, or NULL */
    struct timer timer;                        /* the next fetch */
    uint64_t due_ms;                           /* when it fires */
    uint64_t started_ms;                       /* the last fetch's begin; 0: none yet */
    unsigned failures;                         /* in a row */
    struct buf body;                           /* the last good set; empty before the first */
};

struct keyring {
    struct keyring_options options;
    pthread_mutex_t mutex;  /* of current alone: held for a pointer and a count */
    struct keyset *current; /* never NULL once created */
    struct mail refresh_mail;
    atomic_bool is_mail_under_way;
    bool is_dead; /* destroyed while the mail was under way: it frees us */
    size_t source_count;
    struct source *sources;
};

static struct str app_name(const struct keyring *keyring)
{
    return keyring->options.app->name;
}

/* All configured keys and all fetched ones; tried is a body to be used for one source instead. */
static int build_keyset(const struct keyring *keyring, struct keyset **out_keyset,
                        const struct source *candidate, struct str tried)
{
    const struct settings_jwt *jwt = &keyring->options.app->auth.jwt;
    struct keyset *keyset = NULL;
    int err = keyset_create(&keyset);
    for (size_t i = 0; !err && i < jwt->key_count; i++) {
        err = keyset_add_configured(keyset, &jwt->keys[i]);
        if (err) {
            log_error_of(LOG_OF(.app = app_name(keyring)), "keyring.bad_key",
                         "app '%.*s', key %zu of auth.jwt.keys%s%.*s: %s",
                         STR_ARG(app_name(keyring)), i + 1, jwt->keys[i].file.len ? " from " : "",
                         STR_ARG(jwt->keys[i].file), err_str(err));
        }
    }
    for (size_t i = 0; !err && i < keyring->source_count; i++) {
        const struct source *source = &keyring->sources[i];
        struct str body = source == candidate ? tried : buf_str(&source->body);
        if (body.len > 0) {
            err = keyset_add_jwks(keyset, body, source->configured->alg, true);
        }
    }
    if (err) {
        keyset_unref(keyset);
        return err;
    }
    *out_keyset = keyset;
    return 0;
}

static void publish(struct keyring *keyring, struct keyset *keyset)
{
    pthread_mutex_lock(&keyring->mutex);
    struct keyset *old = keyring->current;
    keyring->current = keyset;
    pthread_mutex_unlock(&keyring->mutex);
    keyset_unref(old);
}

struct keyset *keyring_get(struct keyring *keyring)
{
    pthread_mutex_lock(&keyring->mutex);
    struct keyset *keyset = keyset_ref(keyring->current);
    pthread_mutex_unlock(&keyring->mutex);
    return keyset;
}

static uint64_t with_jitter(uint64_t delay_ms)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    uint64_t tenth = delay_ms / 10;
    return delay_ms - tenth + random % (2 * tenth + 1);
}

static void schedule(struct source *source, uint64_t delay_ms)
{
    struct loop *loop = source->keyring->options.loop;
    source->due_ms = loop_now_ms(loop) + delay_ms;
    loop_timer_start(loop, &source->timer, delay_ms);
}

static void schedule_retry(struct source *source)
{
    const struct keyring_options *options = &source->keyring->options;
    unsigned doublings = source->failures < 16 ? source->failures : 16;
    uint64_t delay_ms = options->retry_ms << doublings;
    source->failures++;
    schedule(source, with_jitter(delay_ms < options->refetch_ms ? delay_ms : options->refetch_ms));
}

static int take_body(struct source *source, struct str body)
{
    struct keyset *keyset = NULL;
    struct buf copy = {.data = NULL};
    int err = build_keyset(source->keyring, &keyset, source, body);
    if (!err) {
        err = buf_append_str(&copy, body);
    }
    if (err) {
        keyset_unref(keyset);
        buf_fini(&copy);
        return err;
    }
    buf_fini(&source->body);
    source->body = copy;
    log_info_of(LOG_OF(.app = app_name(source->keyring)), "keyring.fetched",
                "app '%.*s': %zu keys after fetching %.*s", STR_ARG(app_name(source->keyring)),
                keyset_count(keyset), STR_ARG(source->configured->url));
    publish(source->keyring, keyset);
    return 0;
}

static void on_fetched(void *owner, int err, const struct fetch_response *response)
{
    struct source *source = owner;
    source->fetch = NULL;
    if (err == ERR_CANCELED) {
        return;
    }
    if (!err && response->status != 200) {
        err = ERR_UNAVAILABLE;
    }
    if (!err) {
        err = take_body(source, response->body);
    }
    if (err) {
        log_warn_of(LOG_OF(.app = app_name(source->keyring)), "keyring.fetch_failed",
                    "app '%.*s': key set %.*s: %s (status %d) %s; keeping %s",
                    STR_ARG(app_name(source->keyring)), STR_ARG(source->configured->url),
                    err_str(err), response->status, response->detail,
                    source->body.len ? "the last" : "none");
        schedule_retry(source);
        return;
    }
    source->failures = 0;
    schedule(source, with_jitter(source->configured->refresh_ms));
}

static void start_fetch(struct source *source)
{
    const struct keyring_options *options = &source->keyring->options;
    const struct str accept = STR("Accept: application/jwk-set+json, application/json");
    const struct fetch_request request = {.url = source->configured->url,
                                          .headers = &accept,
                                          .header_count = 1,
                                          .timeout_ms = KEYRING_FETCH_TIMEOUT_MS,
                                          .response_bytes = KEYRING_SET_BYTES};
    source->started_ms = loop_now_ms(options->loop);
    int err = fetch_start(&source->fetch, options->fetcher, &request, on_fetched, source);
    if (err) {
        log_warn_of(LOG_OF(.app = app_name(source->keyring)), "keyring.fetch_failed",
                    "app '%.*s': key set %.*s: %s", STR_ARG(app_name(source->keyring)),
                    STR_ARG(source->configured->url), err_str(err));
        schedule_retry(source);
    }
}

static void on_timer(struct timer *timer)
{
    start_fetch(MAIL_OWNER(timer, struct source, timer));
}

/* Brings the next fetch forward, but not closer to the last one than refetch_ms. */
static void hasten(struct source *source)
{
    const struct keyring_options *options = &source->keyring->options;
    uint64_t now_ms = loop_now_ms(options->loop);
    uint64_t soonest_ms = source->started_ms + options->refetch_ms;
    if (!source->fetch && soonest_ms < source->due_ms) {
        schedule(source, soonest_ms > now_ms ? soonest_ms - now_ms : 0);
    }
}

static void free_keyring(struct keyring *keyring)
{
    pthread_mutex_destroy(&keyring->mutex);
    mem_free(keyring->sources);
    mem_free(keyring);
}

static void on_refresh_mail(struct mail *mail)
{
    struct keyring *keyring = MAIL_OWNER(mail, struct keyring, refresh_mail);
    if (keyring->is_dead) {
        free_keyring(keyring);
        return;
    }
    atomic_store_explicit(&keyring->is_mail_under_way, false, memory_order_release);
    for (size_t i = 0; i < keyring->source_count; i++) {
        hasten(&keyring->sources[i]);
    }
}

void keyring_want_refresh(struct keyring *keyring)
{
    if (keyring->source_count > 0 &&
        !atomic_exchange_explicit(&keyring->is_mail_under_way, true, memory_order_acq_rel)) {
        mailbox_post(keyring->options.mailbox, &keyring->refresh_mail);
    }
}

bool keyring_is_complete(const struct keyring *keyring)
{
    for (size_t i = 0; i < keyring->source_count; i++) {
        if (keyring->sources[i].body.len == 0) {
            return false;
        }
    }
    return true;
}

static int make_sources(struct keyring *keyring)
{
    const struct settings_jwt *jwt = &keyring->options.app->auth.jwt;
    if (jwt->key_count == 0) {
        return 0;
    }
    keyring->sources = mem_zalloc(jwt->key_count * sizeof(*keyring->sources));
    if (!keyring->sources) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < jwt->key_count; i++) {
        if (jwt->keys[i].kind == SETTINGS_KEY_JWKS_URL) {
            struct source *source = &keyring->sources[keyring->source_count++];
            source->keyring = keyring;
            source->configured = &jwt->keys[i];
            source->timer.on_fire = on_timer;
        }
    }
    return 0;
}

int keyring_create(struct keyring **out_keyring, const struct keyring_options *options)
{
    struct keyring *keyring = mem_zalloc(sizeof(*keyring));
    if (!keyring) {
        return ERR_NO_MEMORY;
    }
    keyring->options = *options;
    keyring->options.refetch_ms = options->refetch_ms ? options->refetch_ms : KEYRING_REFETCH_MS;
    keyring->options.retry_ms = options->retry_ms ? options->retry_ms : KEYRING_RETRY_MS;
    keyring->refresh_mail.run = on_refresh_mail;
    pthread_mutex_init(&keyring->mutex, NULL);
    int err = make_sources(keyring);
    if (!err) {
        err = build_keyset(keyring, &keyring->current, NULL, STR(""));
    }
    if (err) {
        keyring_destroy(keyring);
        return err;
    }
    for (size_t i = 0; i < keyring->source_count; i++) {
        start_fetch(&keyring->sources[i]);
    }
    *out_keyring = keyring;
    return 0;
}

void keyring_destroy(struct keyring *keyring)
{
    if (!keyring) {
        return;
    }
    for (size_t i = 0; i < keyring->source_count; i++) {
        struct source *source = &keyring->sources[i];
        loop_timer_stop(keyring->options.loop, &source->timer);
        fetch_cancel(source->fetch);
        buf_fini(&source->body);
    }
    keyset_unref(keyring->current);
    if (atomic_load_explicit(&keyring->is_mail_under_way, memory_order_acquire)) {
        keyring->is_dead = true;
    } else {
        free_keyring(keyring);
    }
}
