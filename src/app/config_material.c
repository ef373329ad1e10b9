#include "app/config_material.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_read.h"
#include "base/err.h"
#include "proto/digest.h"
#include "proto/json.h"

enum {
    MATERIAL_MAX = 256 * 1024,
    SECRET_MIN = 32, /* RFC 7518 3.2: an HS256 key has at least the hash's 256 bits */
    PATH_BYTES = 2048,
    JSON_DEPTH = 16,
    DEFAULT_REFRESH_MS = 10 * 60 * 1000,
};

/* --- API keys --- */

void config_hash_read(struct config_reader *reader, const struct config_key *key,
                      const struct config_node *node, void *object)
{
    struct settings_api_key *api_key = object;
    struct str prefix = STR("sha256:");
    if (node->kind == CONFIG_NODE_SCALAR && str_starts_with(node->text, prefix)) {
        struct str hex = str_make(node->text.ptr + prefix.len, node->text.len - prefix.len);
        if (hex_decode(api_key->hash, sizeof(api_key->hash), hex)) {
            return;
        }
    }
    /* Somebody may have written the key itself here: it is not repeated. */
    config_read_mistake(reader, node->place,
                        "expected \"sha256:\" and 64 hex digits, as `tidegate key` prints them");
}

void config_bits_read(struct config_reader *reader, const struct config_node *node,
                      uint32_t (*parse)(struct str name), const char *expected, uint32_t *out_bits)
{
    char text[256];
    if (node->kind != CONFIG_NODE_LIST || !node->first) {
        snprintf(text, sizeof(text), "a list of %s", expected);
        config_read_expected(reader, node, text);
        return;
    }
    snprintf(text, sizeof(text), "one of %s", expected);
    for (const struct config_node *child = node->first; child; child = child->next) {
        uint32_t bit = child->kind == CONFIG_NODE_SCALAR ? parse(child->text) : 0;
        if (bit == 0) {
            config_read_expected(reader, child, text);
        } else if (*out_bits & bit) {
            config_read_mistake(reader, child->place, "\"%s\" is there twice", child->text.ptr);
        }
        *out_bits |= bit;
    }
}

void config_scopes_read(struct config_reader *reader, const struct config_key *key,
                        const struct config_node *node, void *object)
{
    struct settings_api_key *api_key = object;
    config_bits_read(reader, node, settings_scope_parse, "push, read, kick, ticket, monitor, admin",
                     &api_key->scopes);
}

/* --- Contents of keys and secrets --- */

static const char *check_secret(struct str text)
{
    return text.len >= SECRET_MIN ? NULL : "expected a secret of 32 bytes or more";
}

static const char *check_pem(struct str text)
{
    if (memmem(text.ptr, text.len, "PRIVATE KEY-----", 16)) {
        return "expected a public key, got a private one";
    }
    return memmem(text.ptr, text.len, "-----BEGIN PUBLIC KEY-----", 26)
               ? NULL
               : "expected a public key in PEM (\"-----BEGIN PUBLIC KEY-----\" …)";
}

static const char *check_jwk(struct str text)
{
    struct json_value key, kty;
    bool is_key = json_parse(&key, text, JSON_DEPTH, NULL) == 0 && json_get(key, STR("kty"), &kty);
    return is_key ? NULL : "expected a JSON web key (an object with \"kty\")";
}

static const char *check_jwks(struct str text)
{
    struct json_value set, keys;
    bool is_set = json_parse(&set, text, JSON_DEPTH, NULL) == 0 &&
                  json_get(set, STR("keys"), &keys) && keys.type == JSON_TYPE_ARRAY;
    return is_set ? NULL : "expected a JSON web key set (an object with \"keys\")";
}

/* The text goes to *out_material when check likes it. */
static void keep(struct config_reader *reader, const struct config_node *node, struct str text,
                 config_check_fn *check, struct str *out_material)
{
    const char *problem = check(text);
    if (problem) {
        config_read_mistake(reader, node->place, "%s", problem);
        return;
    }
    *out_material = config_read_copy(reader, text);
}

static bool is_filled_scalar(struct config_reader *reader, const struct config_node *node,
                             const char *expected)
{
    if (node->kind == CONFIG_NODE_SCALAR && !node->is_null && node->text.len > 0) {
        return true;
    }
    config_read_mistake(reader, node->place, "expected %s", expected);
    return false;
}

/* --- Files --- */

static int open_regular(struct config_reader *reader, const char *path, bool is_secret,
                        const struct config_node *node)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        int err = errno;
        if (fd >= 0) {
            close(fd);
        }
        return -err;
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return ERR_UNSUPPORTED;
    }
    if (is_secret && (info.st_mode & (S_IRGRP | S_IROTH))) {
        config_read_warning(reader, node->place,
                            "others than the owner may read this file (mode %03o); chmod 600",
                            info.st_mode & 0777);
    }
    return fd;
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        uint8_t *room = buf_reserve(out, 4096);
        if (!room) {
            return buf_err(out);
        }
        ssize_t len = read(fd, room, 4096);
        if (len <= 0) {
            return len < 0 ? -errno : 0;
        }
        out->len += (size_t)len;
    }
}

/* One line end at the end is the editor's, not the secret's. */
static struct str without_line_end(struct str text)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '\n') {
        text.len--;
        if (text.len > 0 && text.ptr[text.len - 1] == '\r') {
            text.len--;
        }
    }
    return text;
}

static void resolve(struct config_reader *reader, struct str name, char out[PATH_BYTES])
{
    struct str folder = name.ptr[0] == '/' ? STR("") : reader->folder;
    snprintf(out, PATH_BYTES, "%.*s%.*s", STR_ARG(folder), STR_ARG(name));
}

static void read_file(struct config_reader *reader, const struct config_node *node, bool is_secret,
                      config_check_fn *check, struct str *out_material)
{
    if (!is_filled_scalar(reader, node, "the name of a file")) {
        return;
    }
    char path[PATH_BYTES];
    char quoted[CONFIG_QUOTE_MAX];
    resolve(reader, node->text, path);
    struct buf text;
    buf_init(&text, MATERIAL_MAX + 4096);
    int fd = open_regular(reader, path, is_secret, node);
    int err = fd < 0 ? fd : read_all(fd, &text);
    if (!err && text.len > MATERIAL_MAX) {
        err = ERR_TOO_LARGE;
    }
    if (err == ERR_NO_MEMORY) {
        reader->err = err;
    } else if (err) {
        config_read_mistake(reader, node->place, "can't read %s: %s",
                            config_quote(node->text, quoted),
                            err == ERR_UNSUPPORTED ? "not a regular file" : err_str(err));
    } else {
        keep(reader, node, is_secret ? without_line_end(buf_str(&text)) : buf_str(&text), check,
             out_material);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (text.data) {
        explicit_bzero(text.data, text.len);
    }
    buf_fini(&text);
}

void config_secret_file_take(struct config_reader *reader, const struct config_node *node,
                             config_check_fn *check, struct str *out_secret)
{
    read_file(reader, node, true, check, out_secret);
}

void config_file_take(struct config_reader *reader, const struct config_node *node,
                      config_check_fn *check, struct str *out_text)
{
    read_file(reader, node, false, check, out_text);
}

/* --- Keys of tokens --- */

void config_secret_read(struct config_reader *reader, const struct config_key *key,
                        const struct config_node *node, void *object)
{
    struct settings_jwt_key *jwt_key = object;
    jwt_key->kind = SETTINGS_KEY_SECRET;
    reader->has_inline_secret = true;
    if (is_filled_scalar(reader, node, "a secret of 32 bytes or more")) {
        keep(reader, node, node->text, check_secret, &jwt_key->material);
    }
}

static void jwt_file(struct config_reader *reader, const struct config_node *node,
                     struct settings_jwt_key *jwt_key, enum settings_key_kind kind,
                     config_check_fn *check)
{
    jwt_key->kind = kind;
    if (node->kind == CONFIG_NODE_SCALAR) {
        jwt_key->file = config_read_copy(reader, node->text);
    }
    read_file(reader, node, kind == SETTINGS_KEY_SECRET, check, &jwt_key->material);
}

void config_secret_file_read(struct config_reader *reader, const struct config_key *key,
                             const struct config_node *node, void *object)
{
    jwt_file(reader, node, object, SETTINGS_KEY_SECRET, check_secret);
}

void config_pem_file_read(struct config_reader *reader, const struct config_key *key,
                          const struct config_node *node, void *object)
{
    jwt_file(reader, node, object, SETTINGS_KEY_PEM, check_pem);
}

void config_jwks_file_read(struct config_reader *reader, const struct config_key *key,
                           const struct config_node *node, void *object)
{
    jwt_file(reader, node, object, SETTINGS_KEY_JWKS, check_jwks);
}

void config_pem_read(struct config_reader *reader, const struct config_key *key,
                     const struct config_node *node, void *object)
{
    struct settings_jwt_key *jwt_key = object;
    jwt_key->kind = SETTINGS_KEY_PEM;
    if (is_filled_scalar(reader, node, "a public key in PEM")) {
        keep(reader, node, node->text, check_pem, &jwt_key->material);
    }
}

void config_jwk_read(struct config_reader *reader, const struct config_key *key,
                     const struct config_node *node, void *object)
{
    struct settings_jwt_key *jwt_key = object;
    jwt_key->kind = SETTINGS_KEY_JWK;
    if (is_filled_scalar(reader, node, "a JSON web key in quotes")) {
        keep(reader, node, node->text, check_jwk, &jwt_key->material);
    }
}

void config_jwks_url_read(struct config_reader *reader, const struct config_key *key,
                          const struct config_node *node, void *object)
{
    struct settings_jwt_key *jwt_key = object;
    jwt_key->kind = SETTINGS_KEY_JWKS_URL;
    if (node->kind != CONFIG_NODE_SCALAR || !key->text->is_valid(node->text)) {
        config_read_expected(reader, node, key->text->expected);
        return;
    }
    jwt_key->url = config_read_copy(reader, node->text);
}

static unsigned count_of(const struct config_node *node, const char *const *names)
{
    unsigned count = 0;
    for (; *names; names++) {
        count += config_tree_child(node, str_of(*names)) != NULL;
    }
    return count;
}

/* A key of one kind that verifies with an algorithm of another is a known hole (RFC 8725 3.1). */
static bool alg_fits(const struct settings_jwt_key *key)
{
    switch (key->kind) {
    case SETTINGS_KEY_SECRET:
        return key->alg == SETTINGS_ALG_OF_KEY || key->alg == SETTINGS_ALG_HS256;
    case SETTINGS_KEY_PEM:
    case SETTINGS_KEY_JWKS_URL: return key->alg != SETTINGS_ALG_HS256;
    default: return true;
    }
}

void config_jwt_key_finish(struct config_reader *reader, const struct config_node *node,
                           void *object)
{
    static const char *const sources[] = {"secret", "secret_file", "pem",      "pem_file",
                                          "jwk",    "jwks_file",   "jwks_url", NULL};
    struct settings_jwt_key *key = object;
    unsigned count = count_of(node, sources);
    if (count != 1) {
        config_read_mistake(reader, node->place,
                            "expected one of secret, secret_file, pem, pem_file, jwk, jwks_file, "
                            "jwks_url, got %u of them",
                            count);
        return;
    }
    if (!alg_fits(key)) {
        config_read_mistake(reader, node->place,
                            "expected an \"alg\" that fits the key: HS256 goes with a secret "
                            "alone");
    }
    if (key->kind == SETTINGS_KEY_JWKS_URL && key->refresh_ms == 0) {
        key->refresh_ms = DEFAULT_REFRESH_MS;
    } else if (key->kind != SETTINGS_KEY_JWKS_URL && config_tree_child(node, STR("refresh"))) {
        config_read_mistake(reader, node->place, "\"refresh\" goes with jwks_url alone");
    }
}

/* --- The cluster's secrets --- */

void config_cluster_file_read(struct config_reader *reader, const struct config_key *key,
                              const struct config_node *node, void *object)
{
    struct settings_secret *secret = object;
    read_file(reader, node, true, check_secret, &secret->material);
}

void config_cluster_secret_read(struct config_reader *reader, const struct config_key *key,
                                const struct config_node *node, void *object)
{
    struct settings_secret *secret = object;
    reader->has_inline_secret = true;
    if (is_filled_scalar(reader, node, "a secret of 32 bytes or more")) {
        keep(reader, node, node->text, check_secret, &secret->material);
    }
}

void config_cluster_secret_finish(struct config_reader *reader, const struct config_node *node,
                                  void *object)
{
    static const char *const sources[] = {"file", "secret", NULL};
    unsigned count = count_of(node, sources);
    if (count != 1) {
        config_read_mistake(reader, node->place, "expected one of file and secret, got %u of them",
                            count);
    }
}
