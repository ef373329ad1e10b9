#include "server/token_key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "proto/digest.h"

enum {
    P256_BYTES = 32,
    ED25519_BYTES = 32,
    ED25519_SIGNATURE = 64,
    RSA_BYTES_MAX = TOKEN_RSA_BITS_MAX / 8 + 1, /* some writers put a zero in front */
    RSA_EXPONENT_BYTES_MAX = 8,
};

enum settings_alg token_alg_parse(struct str name)
{
    static const struct {
        struct str name;
        enum settings_alg alg;
    } algs[] = {
        {{"HS256", 5}, SETTINGS_ALG_HS256},
        {{"RS256", 5}, SETTINGS_ALG_RS256},
        {{"ES256", 5}, SETTINGS_ALG_ES256},
        {{"EdDSA", 5}, SETTINGS_ALG_EDDSA},
    };
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        if (str_equal(name, algs[i].name)) {
            return algs[i].alg;
        }
    }
    return SETTINGS_ALG_OF_KEY;
}

void token_key_fini(struct token_key *key)
{
    EVP_PKEY_free(key->public_key);
    if (key->secret) {
        OPENSSL_cleanse(key->secret, key->secret_len);
    }
    mem_free(key->secret);
    mem_free(key->kid);
    *key = (struct token_key){.kid = NULL};
}

static int set_kid(struct token_key *key, struct str kid)
{
    key->kid = mem_strndup(kid.ptr, kid.len);
    return key->kid ? 0 : ERR_NO_MEMORY;
}

int token_key_from_secret(struct token_key *out_key, enum settings_alg alg, struct str kid,
                          struct str secret)
{
    struct token_key key = {.alg = SETTINGS_ALG_HS256};
    if ((alg != SETTINGS_ALG_OF_KEY && alg != key.alg) || secret.len < TOKEN_SECRET_MIN) {
        return ERR_UNSUPPORTED;
    }
    key.secret = mem_strndup(secret.ptr, secret.len);
    key.secret_len = secret.len;
    int err = key.secret ? set_kid(&key, kid) : ERR_NO_MEMORY;
    if (err) {
        token_key_fini(&key);
        return err;
    }
    *out_key = key;
    return 0;
}

/* The algorithm that a public key is good for; SETTINGS_ALG_OF_KEY: for none of ours. */
static enum settings_alg alg_of_public_key(EVP_PKEY *public_key)
{
    char group[32] = "";
    switch (EVP_PKEY_get_base_id(public_key)) {
    case EVP_PKEY_RSA: {
        int bits = EVP_PKEY_get_bits(public_key);
        bool fits = bits >= TOKEN_RSA_BITS_MIN && bits <= TOKEN_RSA_BITS_MAX;
        return fits ? SETTINGS_ALG_RS256 : SETTINGS_ALG_OF_KEY;
    }
    case EVP_PKEY_EC:
        EVP_PKEY_get_group_name(public_key, group, sizeof(group), NULL);
        return strcmp(group, SN_X9_62_prime256v1) == 0 ? SETTINGS_ALG_ES256 : SETTINGS_ALG_OF_KEY;
    case EVP_PKEY_ED25519: return SETTINGS_ALG_EDDSA;
    default: return SETTINGS_ALG_OF_KEY;
    }
}

/* Takes over public_key, also on failure; NULL is a failure to read it. */
static int from_public_key(struct token_key *out_key, enum settings_alg alg, struct str kid,
                           EVP_PKEY *public_key)
{
    ERR_clear_error();
    if (!public_key) {
        return ERR_SYNTAX;
    }
    struct token_key key = {.alg = alg_of_public_key(public_key), .public_key = public_key};
    int err = set_kid(&key, kid);
    if (!err &&
        (key.alg == SETTINGS_ALG_OF_KEY || (alg != SETTINGS_ALG_OF_KEY && alg != key.alg))) {
        err = ERR_UNSUPPORTED;
    }
    if (err) {
        token_key_fini(&key);
        return err;
    }
    *out_key = key;
    return 0;
}

static int no_passphrase(char *out, int size, int is_writing, void *arg)
{
    return -1;
}

int token_key_from_pem(struct token_key *out_key, enum settings_alg alg, struct str kid,
                       struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    if (!bio) {
        return ERR_NO_MEMORY;
    }
    EVP_PKEY *public_key = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    return from_public_key(out_key, alg, kid, public_key);
}

enum jwk_member {
    JWK_KTY,
    JWK_USE,
    JWK_KEY_OPS,
    JWK_ALG,
    JWK_KID,
    JWK_CRV,
    JWK_K,
    JWK_N,
    JWK_E,
    JWK_X,
    JWK_Y,
    JWK_MEMBERS,
};

/* Bytes of a base64url member; 0 when it is absent, no such text, or longer than cap. */
static size_t jwk_bytes(const struct json_field *member, uint8_t *out, size_t cap)
{
    struct str text;
    size_t len;
    if (!json_string_plain(member->value, &text) ||
        base64_decode(out, cap, &len, text, BASE64_URL)) {
        return 0;
    }
    return len;
}

static EVP_PKEY *make_public_key(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *public_key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params && context && EVP_PKEY_fromdata_init(context) == 1) {
        EVP_PKEY_fromdata(context, &public_key, EVP_PKEY_PUBLIC_KEY, params);
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return public_key;
}

static EVP_PKEY *rsa_from_jwk(const struct json_field *members)
{
    uint8_t n[RSA_BYTES_MAX];
    uint8_t e[RSA_EXPONENT_BYTES_MAX];
    size_t n_len = jwk_bytes(&members[JWK_N], n, sizeof(n));
    size_t e_len = jwk_bytes(&members[JWK_E], e, sizeof(e));
    if (n_len == 0 || e_len == 0) {
        return NULL;
    }
    EVP_PKEY *public_key = NULL;
    BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL);
    BIGNUM *exponent = BN_bin2bn(e, (int)e_len, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    /* An exponent of 1 would make every text its own signature. */
    if (modulus && exponent && builder && BN_is_odd(modulus) && BN_is_odd(exponent) &&
        !BN_is_one(exponent) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1) {
        public_key = make_public_key("RSA", builder);
    }
    OSSL_PARAM_BLD_free(builder);
    BN_free(exponent);
    BN_free(modulus);
    return public_key;
}

static EVP_PKEY *ec_from_jwk(const struct json_field *members)
{
    uint8_t point[1 + 2 * P256_BYTES] = {0x04}; /* SEC 1 2.3.3: uncompressed */
    if (jwk_bytes(&members[JWK_X], point + 1, P256_BYTES) != P256_BYTES ||
        jwk_bytes(&members[JWK_Y], point + 1 + P256_BYTES, P256_BYTES) != P256_BYTES) {
        return NULL;
    }
    EVP_PKEY *public_key = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    /* The point is checked to lie on the curve when it is decoded. */
    if (builder &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) ==
            1) {
        public_key = make_public_key("EC", builder);
    }
    OSSL_PARAM_BLD_free(builder);
    return public_key;
}

static EVP_PKEY *ed25519_from_jwk(const struct json_field *members)
{
    uint8_t x[ED25519_BYTES];
    if (jwk_bytes(&members[JWK_X], x, sizeof(x)) != sizeof(x)) {
        return NULL;
    }
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
}

static int oct_from_jwk(struct token_key *out_key, enum settings_alg alg, struct str kid,
                        const struct json_field *members)
{
    uint8_t secret[TOKEN_SECRET_MAX];
    size_t len = jwk_bytes(&members[JWK_K], secret, sizeof(secret));
    int err = len == 0 ? ERR_SYNTAX
                       : token_key_from_secret(out_key, alg, kid, str_make(secret, len));
    OPENSSL_cleanse(secret, sizeof(secret));
    return err;
}

/* RFC 7517 4.2, 4.3: a key for something else must not verify. */
static bool is_for_verifying(const struct json_field *members)
{
    const struct json_value *use = &members[JWK_USE].value;
    if (use->type != JSON_TYPE_NONE && !json_equals(*use, STR("sig"))) {
        return false;
    }
    if (members[JWK_KEY_OPS].value.type == JSON_TYPE_NONE) {
        return true;
    }
    struct json_iter iter;
    struct json_value operation;
    json_iter_init(&iter, members[JWK_KEY_OPS].value);
    while (json_next(&iter, NULL, &operation)) {
        if (json_equals(operation, STR("verify"))) {
            return true;
        }
    }
    return false;
}

/* The algorithm that configuration and key agree on; negative when they don't. */
static int agree_on_alg(enum settings_alg *out_alg, enum settings_alg alg,
                        const struct json_value *jwk_alg)
{
    struct str name;
    *out_alg = alg;
    if (jwk_alg->type == JSON_TYPE_NONE) {
        return 0;
    }
    enum settings_alg own = json_string_plain(*jwk_alg, &name) ? token_alg_parse(name)
                                                               : SETTINGS_ALG_OF_KEY;
    if (own == SETTINGS_ALG_OF_KEY || (alg != SETTINGS_ALG_OF_KEY && alg != own)) {
        return ERR_UNSUPPORTED;
    }
    *out_alg = own;
    return 0;
}

static int from_members(struct token_key *out_key, enum settings_alg alg, struct str kid,
                        const struct json_field *members)
{
    const struct json_value kty = members[JWK_KTY].value;
    const struct json_value curve = members[JWK_CRV].value;
    if (json_equals(kty, STR("oct"))) {
        return oct_from_jwk(out_key, alg, kid, members);
    }
    if (json_equals(kty, STR("RSA"))) {
        return from_public_key(out_key, alg, kid, rsa_from_jwk(members));
    }
    if (json_equals(kty, STR("EC")) && json_equals(curve, STR("P-256"))) {
        return from_public_key(out_key, alg, kid, ec_from_jwk(members));
    }
    if (json_equals(kty, STR("OKP")) && json_equals(curve, STR("Ed25519"))) {
        return from_public_key(out_key, alg, kid, ed25519_from_jwk(members));
    }
    return kty.type == JSON_TYPE_STRING ? ERR_UNSUPPORTED : ERR_SYNTAX;
}

int token_key_from_jwk(struct token_key *out_key, enum settings_alg alg, struct str kid,
                       struct json_value jwk)
{
    struct json_field members[JWK_MEMBERS] = {
        [JWK_KTY] = {.name = STR("kty")}, [JWK_USE] = {.name = STR("use")},
        [JWK_ALG] = {.name = STR("alg")}, [JWK_KEY_OPS] = {.name = STR("key_ops")},
        [JWK_KID] = {.name = STR("kid")}, [JWK_CRV] = {.name = STR("crv")},
        [JWK_K] = {.name = STR("k")},     [JWK_N] = {.name = STR("n")},
        [JWK_E] = {.name = STR("e")},     [JWK_X] = {.name = STR("x")},
        [JWK_Y] = {.name = STR("y")},
    };
    char kid_text[TOKEN_KID_MAX];
    if (json_read_fields(jwk, members, JWK_MEMBERS, NULL)) {
        return ERR_SYNTAX;
    }
    if (kid.len == 0 && members[JWK_KID].value.type != JSON_TYPE_NONE &&
        (json_string_text(members[JWK_KID].value, kid_text, sizeof(kid_text), &kid) ||
         memchr(kid.ptr, '\0', kid.len))) {
        return ERR_SYNTAX;
    }
    int err = agree_on_alg(&alg, alg, &members[JWK_ALG].value);
    if (!err && !is_for_verifying(members)) {
        err = ERR_UNSUPPORTED;
    }
    return err ? err : from_members(out_key, alg, kid, members);
}

static bool verify_hmac(const struct token_key *key, struct str text, const uint8_t *signature,
                        size_t signature_len)
{
    uint8_t expected[DIGEST_SHA256_LEN];
    struct str secret = str_make(key->secret, key->secret_len);
    return signature_len == sizeof(expected) &&
           digest_hmac_sha256(expected, secret, text.ptr, text.len) == 0 &&
           crypto_equal(expected, signature, sizeof(expected));
}

static bool verify_public(const struct token_key *key, struct str text, const uint8_t *signature,
                          size_t signature_len)
{
    const EVP_MD *digest = key->alg == SETTINGS_ALG_EDDSA ? NULL : EVP_sha256();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_good = context &&
                   EVP_DigestVerifyInit(context, NULL, digest, NULL, key->public_key) == 1 &&
                   EVP_DigestVerify(context, signature, signature_len, (const uint8_t *)text.ptr,
                                    text.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error(); /* the queue is the thread's and would be read by TLS */
    return is_good;
}

/* RFC 7518 3.4: R and S of 32 bytes each; OpenSSL wants them in DER. */
static bool verify_ecdsa(const struct token_key *key, struct str text, const uint8_t *signature,
                         size_t signature_len)
{
    if (signature_len != 2 * P256_BYTES) {
        return false;
    }
    bool is_good = false;
    uint8_t *der = NULL;
    BIGNUM *r = BN_bin2bn(signature, P256_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(signature + P256_BYTES, P256_BYTES, NULL);
    ECDSA_SIG *pair = ECDSA_SIG_new();
    /* CVE-2022-21449: zero satisfies the equation of a careless verifier for every key and text. */
    if (r && s && pair && !BN_is_zero(r) && !BN_is_zero(s) && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = NULL;
        s = NULL;
        int der_len = i2d_ECDSA_SIG(pair, &der);
        is_good = der_len > 0 && verify_public(key, text, der, (size_t)der_len);
    }
    OPENSSL_free(der);
    ECDSA_SIG_free(pair);
    BN_free(r);
    BN_free(s);
    return is_good;
}

bool token_key_verify(const struct token_key *key, struct str text, const uint8_t *signature,
                      size_t signature_len)
{
    switch (key->alg) {
    case SETTINGS_ALG_HS256: return verify_hmac(key, text, signature, signature_len);
    case SETTINGS_ALG_ES256: return verify_ecdsa(key, text, signature, signature_len);
    case SETTINGS_ALG_EDDSA:
        return signature_len == ED25519_SIGNATURE &&
               verify_public(key, text, signature, signature_len);
    case SETTINGS_ALG_RS256: return verify_public(key, text, signature, signature_len);
    default: return false;
    }
}
