#include "app/verbs.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/config.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "proto/json.h"
#include "server/api_key.h"
#include "server/token_mint.h"

static int print(const char *verb, struct buf *out)
{
    buf_append_char(out, '\n');
    bool failed = buf_err(out) || fputs(buf_cstr(out), stdout) == EOF || fflush(stdout);
    buf_fini(out);
    if (failed) {
        args_complain(verb, "the output can't be written");
        return EXIT_CODE_INTERNAL;
    }
    return EXIT_CODE_OK;
}

/* ---- key ---- */

static void write_key_json(struct buf *out, const char *name, const char *key, const char *hash)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("name"), str_of(name));
    json_write_string_field(out, STR("key"), str_of(key));
    json_write_string_field(out, STR("hash"), str_of(hash));
    buf_append_char(out, '}');
}

static void write_key_text(struct buf *out, const char *name, const char *scopes, const char *key,
                           const char *hash)
{
    buf_printf(out,
               "key:  %s\n"
               "hash: %s\n"
               "Keep the key secret; put this under the app's api_keys:\n"
               "  - {name: %s, hash: \"%s\", scopes: [%s]}",
               key, hash, name, hash, scopes);
}

static bool scopes_are_good(const char *scopes)
{
    struct str rest = str_of(scopes);
    struct str scope;
    while (str_split(&rest, ',', &scope)) {
        if (!settings_scope_parse(str_trim(scope))) {
            return false;
        }
    }
    return true;
}

int app_key_main(int argc, char **argv)
{
    const char *name = "key";
    const char *scopes = "push, read";
    bool json = false;
    const struct args_option options[] = {
        {.name = "name", .value = "N", .help = "its name in logs (default: key)", .text = &name},
        {.name = "scopes",
         .value = "LIST",
         .help = "of push, read, kick, ticket, monitor, admin (default: push, read)",
         .text = &scopes},
        {.name = "json", .help = "print one JSON object", .flag = &json},
    };
    const struct args_verb verb = {.name = "key",
                                   .synopsis = "[--name N] [--scopes LIST] [--json]",
                                   .summary = "Makes an API key and the hash to configure.",
                                   .options = options,
                                   .option_count = 3};
    char key[API_KEY_LEN + 1];
    char hash[API_KEY_HASH_LEN + 1];
    struct buf out = {0};
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    if (!scopes_are_good(scopes)) {
        args_complain("key", "--scopes takes some of push, read, kick, ticket, monitor, admin");
        return EXIT_CODE_USAGE;
    }
    if (api_key_make(key, hash)) {
        args_complain("key", "the system has no randomness");
        return EXIT_CODE_INTERNAL;
    }
    if (json) {
        write_key_json(&out, name, key, hash);
    } else {
        write_key_text(&out, name, scopes, key, hash);
    }
    return print("key", &out);
}

/* ---- token ---- */

static const struct settings_jwt_key *find_secret(const struct settings_app *app)
{
    for (size_t i = 0; i < app->auth.jwt.key_count; i++) {
        if (app->auth.jwt.keys[i].kind == SETTINGS_KEY_SECRET) {
            return &app->auth.jwt.keys[i];
        }
    }
    return NULL;
}

static int mint(struct buf *out, const struct settings_app *app, const char *user, uint64_t ttl_ms,
                const struct args_list *groups)
{
    const struct settings_jwt_key *key = find_secret(app);
    struct str names[ARGS_LIST_MAX];
    uint64_t now_s = clock_wall_ms() / 1000;
    if (!key) {
        args_complain("token", "app '%.*s' has no HS256 secret in auth.jwt.keys to sign with",
                      STR_ARG(app->name));
        return EXIT_CODE_REFUSED;
    }
    for (size_t i = 0; i < groups->count; i++) {
        names[i] = str_of(groups->items[i]);
    }
    struct token_claims claims = {.sub = str_of(user),
                                  .iss = app->auth.jwt.issuer,
                                  .aud = app->auth.jwt.audience,
                                  .iat_s = now_s,
                                  .exp_s = now_s + ttl_ms / 1000,
                                  .groups = groups->count ? names : NULL,
                                  .group_count = groups->count};
    if (token_mint(out, key->material, key->kid, &claims)) {
        args_complain("token", "the token can't be made");
        return EXIT_CODE_INTERNAL;
    }
    return EXIT_CODE_OK;
}

static int mint_by_config(struct buf *out, const char *path, const char *app_name, const char *user,
                          uint64_t ttl_ms, const struct args_list *groups)
{
    struct settings *settings;
    struct buf remarks = {0};
    if (config_load(&settings, path, &remarks)) {
        fputs(buf_cstr(&remarks), stderr);
        buf_fini(&remarks);
        args_complain("token", "the configuration is not usable");
        return EXIT_CODE_USAGE;
    }
    buf_fini(&remarks);
    const struct settings_app *app = NULL;
    if (app_name) {
        app = settings_find_app(settings, str_of(app_name));
    } else if (settings->app_count == 1) {
        app = &settings->apps[0];
    }
    int exit_code = EXIT_CODE_USAGE;
    if (app) {
        exit_code = mint(out, app, user, ttl_ms, groups);
    } else {
        args_complain("token", "name an app of the configuration with --app");
    }
    settings_unref(settings);
    return exit_code;
}

int app_token_main(int argc, char **argv)
{
    const char *user = NULL;
    const char *path = NULL;
    const char *app = NULL;
    const char *ttl = "1h";
    struct args_list groups = {{0}, 0};
    uint64_t ttl_ms;
    const struct args_option options[] = {
        {.name = "user", .value = "U", .help = "the user id (required)", .text = &user},
        {.name = "config",
         .value = "F",
         .help = "the configuration that has the secret (or TIDEGATE_CONFIG)",
         .text = &path},
        {.name = "app", .value = "A", .help = "the app (default: the only one)", .text = &app},
        {.name = "ttl", .value = "TIME", .help = "how long it is good (default: 1h)", .text = &ttl},
        {.name = "group",
         .value = "G",
         .help = "a group or pattern it may join (repeatable)",
         .list = &groups},
    };
    const struct args_verb verb = {.name = "token",
                                   .synopsis = "--user U [--config F] [--app A] [--ttl TIME]",
                                   .summary = "Mints a token for tests, signed with an HS256 "
                                              "secret of the configuration.",
                                   .options = options,
                                   .option_count = 5};
    struct buf out = {0};
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    if (!user || !args_duration_ms(ttl, &ttl_ms)) {
        args_complain("token", user ? "--ttl takes a time such as 1h" : "--user is missing");
        return EXIT_CODE_USAGE;
    }
    path = path ? path : getenv("TIDEGATE_CONFIG");
    exit_code = mint_by_config(&out, path, app, user, ttl_ms, &groups);
    if (exit_code) {
        buf_fini(&out);
        return exit_code;
    }
    return print("token", &out);
}
