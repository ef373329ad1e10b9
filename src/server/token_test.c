#include "server/token.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "server/token_mint.h"

#define SECRET "01234567890123456789012345678901"
#define HS256 "{\"alg\":\"HS256\"}"

static const uint64_t now_s = 1800000000;

static const struct token_rules open_rules = {
    .leeway_ms = 30000, .max_bytes = 8192, .name_bytes = 256};

static struct keyset *make_keys(const char *kid)
{
    struct keyset *keys = NULL;
    struct settings_jwt_key secret = {
        .kind = SETTINGS_KEY_SECRET, .kid = str_of(kid), .material = STR(SECRET)};
    assert_int_equal(keyset_create(&keys), 0);
    assert_int_equal(keyset_add_configured(keys, &secret), 0);
    return keys;
}

static enum token_refusal verify_text(const char *compact, const struct token_rules *rules)
{
    struct token token;
    struct keyset *keys = make_keys("");
    enum token_refusal refusal = token_verify(&token, str_of(compact), keys, rules, now_s * 1000,
                                              NULL);
    token_fini(&token);
    keyset_unref(keys);
    return refusal;
}

/* Signs header and payload with the secret; the refusal of that token. */
static enum token_refusal verify_signed(const char *header, const char *payload,
                                        const struct token_rules *rules)
{
    struct buf compact = {.data = NULL};
    assert_int_equal(token_mint_raw(&compact, STR(SECRET), str_of(header), str_of(payload)), 0);
    enum token_refusal refusal = verify_text(buf_cstr(&compact), rules);
    buf_fini(&compact);
    return refusal;
}

static enum token_refusal with_claims(const char *claims)
{
    char payload[1024];
    snprintf(payload, sizeof(payload), "{%s}", claims);
    return verify_signed(HS256, payload, &open_rules);
}

static enum token_refusal with_header(const char *header)
{
    return verify_signed(header, "{\"sub\":\"42\",\"exp\":1800000060}", &open_rules);
}

static void a_minted_token_says_what_went_in(void **state)
{
    const struct str groups[] = {STR("room:*"), STR("caf\xc3\xa9 \"1\"")};
    const struct token_claims claims = {.sub = STR("42\\"),
                                        .iss = STR("me"),
                                        .aud = STR("you"),
                                        .jti = STR("t-1"),
                                        .exp_s = now_s + 60,
                                        .nbf_s = now_s,
                                        .iat_s = now_s - 1,
                                        .groups = groups,
                                        .group_count = 2};
    const struct token_rules rules = {
        .issuer = STR("me"), .audience = STR("you"), .max_bytes = 8192, .name_bytes = 256};
    struct buf compact = {.data = NULL};
    struct token token;
    struct keyset *keys = make_keys("k1");
    assert_int_equal(token_mint(&compact, STR(SECRET), STR("k1"), &claims), 0);
    assert_int_equal(token_verify(&token, buf_str(&compact), keys, &rules, now_s * 1000, NULL), 0);
    assert_true(str_equal(token.sub, claims.sub));
    assert_true(str_equal(token.jti, claims.jti));
    assert_int_equal(token.exp_ms, (now_s + 60) * 1000);
    assert_int_equal(token.iat_ms, (now_s - 1) * 1000);
    assert_true(token.has_groups);
    assert_int_equal(token.group_count, 2);
    assert_true(str_equal(token.groups[0], groups[0]));
    assert_true(str_equal(token.groups[1], groups[1]));
    token_fini(&token);
    keyset_unref(keys);
    buf_fini(&compact);
}

static void no_groups_and_no_group_are_told_apart(void **state)
{
    struct buf compact = {.data = NULL};
    struct token token;
    struct keyset *keys = make_keys("");
    token_mint_raw(&compact, STR(SECRET), STR(HS256),
                   STR("{\"sub\":\"42\",\"exp\":1800000060,\"groups\":[]}"));
    assert_int_equal(token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, NULL),
                     0);
    assert_true(token.has_groups);
    assert_int_equal(token.group_count, 0);
    token_fini(&token);
    buf_clear(&compact);
    token_mint_raw(&compact, STR(SECRET), STR(HS256), STR("{\"sub\":\"42\",\"exp\":1800000060}"));
    assert_int_equal(token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, NULL),
                     0);
    assert_false(token.has_groups);
    assert_int_equal(token.jti.len, 0);
    token_fini(&token);
    keyset_unref(keys);
    buf_fini(&compact);
}

static void headers_that_are_not_ours_are_refused(void **state)
{
    assert_int_equal(with_header(HS256), TOKEN_REFUSED_NOT);
    assert_int_equal(with_header("{\"alg\":\"HS256\",\"typ\":\"jwt\"}"), TOKEN_REFUSED_NOT);
    assert_int_equal(with_header("{\"alg\":\"HS256\",\"typ\":\"application/at+JWT\"}"),
                     TOKEN_REFUSED_NOT);
    assert_int_equal(with_header("{\"alg\":\"HS256\",\"kid\":\"any\",\"x5t\":\"ignored\"}"),
                     TOKEN_REFUSED_NOT);
    static const struct {
        const char *header;
        enum token_refusal refusal;
    } cases[] = {
        {"{\"alg\":\"none\"}", TOKEN_REFUSED_ALG},
        {"{\"alg\":\"None\"}", TOKEN_REFUSED_ALG},
        {"{\"alg\":\"\"}", TOKEN_REFUSED_ALG},
        {"{\"alg\":\"hs256\"}", TOKEN_REFUSED_ALG},
        {"{\"alg\":\"HS512\"}", TOKEN_REFUSED_ALG},
        {"{\"alg\":\"PS256\"}", TOKEN_REFUSED_ALG},
        {"{\"alg\":256}", TOKEN_REFUSED_ALG},
        {"{\"alg\":[\"HS256\"]}", TOKEN_REFUSED_ALG},
        {"{}", TOKEN_REFUSED_ALG},
        {"{\"alg\":\"RS256\"}", TOKEN_REFUSED_KEY},
        {"{\"alg\":\"ES256\"}", TOKEN_REFUSED_KEY},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"crit\":[]}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"cty\":\"JWT\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"typ\":\"logout+jwt\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"typ\":1}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":\"../../dev/null\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":\"k\\u0000\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":\"\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":1}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":\"\\u202e\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", TOKEN_REFUSED_MALFORMED},
        {"{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}", TOKEN_REFUSED_MALFORMED},
        {"{\"alg\":\"HS256\",\"x\":1,\"x\":2}", TOKEN_REFUSED_MALFORMED},
        {"{\"alg\":\"HS256\",\"x\":[[[[[1]]]]]}", TOKEN_REFUSED_MALFORMED},
        {"{\"alg\":\"HS256\"}{}", TOKEN_REFUSED_MALFORMED},
        {"{\"alg\":\"HS256\"", TOKEN_REFUSED_MALFORMED},
        {"[\"HS256\"]", TOKEN_REFUSED_MALFORMED},
        {"HS256", TOKEN_REFUSED_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(with_header(cases[i].header), cases[i].refusal);
    }
}

static void claims_are_demanded_and_checked(void **state)
{
    static const struct {
        const char *claims;
        enum token_refusal refusal;
    } cases[] = {
        {"\"sub\":\"42\",\"exp\":1800000060", TOKEN_REFUSED_NOT},
        {"\"sub\":\"42\",\"exp\":1800000060.987,\"nbf\":0,\"iat\":1.5", TOKEN_REFUSED_NOT},
        {"\"sub\":\"\\u00e9\\ud83d\\ude00\",\"exp\":9007199254740991", TOKEN_REFUSED_NOT},
        {"\"sub\":\"42\"", TOKEN_REFUSED_NO_EXPIRY},
        {"\"sub\":\"42\",\"exp\":null", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":\"1800000060\"", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":-1", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1e30", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1.8e9", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":18446744073709551616", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1800000060,\"nbf\":\"x\"", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1800000060,\"iat\":[]", TOKEN_REFUSED_CLAIMS},
        {"\"exp\":1800000060", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"\",\"exp\":1800000060", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":42,\"exp\":1800000060", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"a\\u0000b\",\"exp\":1800000060", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"a\\nb\",\"exp\":1800000060", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"a\\u007fb\",\"exp\":1800000060", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"a\\ud800b\",\"exp\":1800000060", TOKEN_REFUSED_MALFORMED},
        {"\"sub\":\"a\xff\",\"exp\":1800000060", TOKEN_REFUSED_MALFORMED},
        {"\"sub\":\"a\",\"sub\":\"b\",\"exp\":1800000060", TOKEN_REFUSED_MALFORMED},
        {"\"sub\":\"a\",\"exp\":1800000060,\"x\":{},\"x\":{}", TOKEN_REFUSED_MALFORMED},
        {"\"sub\":\"42\",\"exp\":1800000060,\"jti\":7", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1800000060,\"groups\":\"room:1\"", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1800000060,\"groups\":[\"a\",1]", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1800000060,\"groups\":[\"a\\tb\"]", TOKEN_REFUSED_CLAIMS},
        {"\"sub\":\"42\",\"exp\":1800000060,\"groups\":[\"\"]", TOKEN_REFUSED_CLAIMS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(with_claims(cases[i].claims), cases[i].refusal);
    }
}

static void times_count_with_leeway_to_the_second(void **state)
{
    /* now is 1800000000, the leeway 30 s */
    assert_int_equal(with_claims("\"sub\":\"4\",\"exp\":1799999970"), TOKEN_REFUSED_EXPIRED);
    assert_int_equal(with_claims("\"sub\":\"4\",\"exp\":1799999971"), TOKEN_REFUSED_NOT);
    assert_int_equal(with_claims("\"sub\":\"4\",\"exp\":1800000060,\"nbf\":1800000030"),
                     TOKEN_REFUSED_NOT);
    assert_int_equal(with_claims("\"sub\":\"4\",\"exp\":1800000060,\"nbf\":1800000031"),
                     TOKEN_REFUSED_NOT_YET);
    assert_int_equal(with_claims("\"sub\":\"4\",\"exp\":1800000060,\"iat\":1800000031"),
                     TOKEN_REFUSED_NOT_YET);
    assert_int_equal(with_claims("\"sub\":\"4\",\"exp\":0"), TOKEN_REFUSED_EXPIRED);

    struct token_rules brief = open_rules;
    brief.max_life_ms = 3600 * 1000;
    assert_int_equal(
        verify_signed(HS256, "{\"sub\":\"4\",\"iat\":1799999990,\"exp\":1800003590}", &brief),
        TOKEN_REFUSED_NOT);
    assert_int_equal(
        verify_signed(HS256, "{\"sub\":\"4\",\"iat\":1799999990,\"exp\":1800003591}", &brief),
        TOKEN_REFUSED_TOO_LONG);
    assert_int_equal(verify_signed(HS256, "{\"sub\":\"4\",\"exp\":1800003600}", &brief),
                     TOKEN_REFUSED_NOT); /* without an issue, from now on */
    assert_int_equal(verify_signed(HS256, "{\"sub\":\"4\",\"exp\":1800003601}", &brief),
                     TOKEN_REFUSED_TOO_LONG);

    struct token_rules exact = open_rules;
    exact.leeway_ms = 0;
    assert_int_equal(verify_signed(HS256, "{\"sub\":\"4\",\"exp\":1800000000}", &exact),
                     TOKEN_REFUSED_EXPIRED);
    assert_int_equal(verify_signed(HS256, "{\"sub\":\"4\",\"exp\":1800000001}", &exact),
                     TOKEN_REFUSED_NOT);
}

static void issuer_and_audience_must_be_ours_when_we_name_them(void **state)
{
    struct token_rules rules = open_rules;
    rules.issuer = STR("https://id.example");
    rules.audience = STR("push");
    static const struct {
        const char *claims;
        enum token_refusal refusal;
    } cases[] = {
        {"\"iss\":\"https://id.example\",\"aud\":\"push\"", TOKEN_REFUSED_NOT},
        {"\"iss\":\"https:\\/\\/id.example\",\"aud\":[\"a\",\"push\"]", TOKEN_REFUSED_NOT},
        {"\"aud\":\"push\"", TOKEN_REFUSED_ISSUER},
        {"\"iss\":\"https://id.example/\",\"aud\":\"push\"", TOKEN_REFUSED_ISSUER},
        {"\"iss\":[\"https://id.example\"],\"aud\":\"push\"", TOKEN_REFUSED_ISSUER},
        {"\"iss\":\"https://id.example\"", TOKEN_REFUSED_AUDIENCE},
        {"\"iss\":\"https://id.example\",\"aud\":\"pushy\"", TOKEN_REFUSED_AUDIENCE},
        {"\"iss\":\"https://id.example\",\"aud\":[\"a\",[\"push\"]]", TOKEN_REFUSED_AUDIENCE},
        {"\"iss\":\"https://id.example\",\"aud\":{\"push\":\"push\"}", TOKEN_REFUSED_AUDIENCE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char payload[512];
        snprintf(payload, sizeof(payload), "{\"sub\":\"4\",\"exp\":1800000060,%s}",
                 cases[i].claims);
        assert_int_equal(verify_signed(HS256, payload, &rules), cases[i].refusal);
    }
}

static void a_token_is_three_parts_of_canonical_base64url(void **state)
{
    static const char good[] = "eyJhbGciOiJIUzI1NiJ9"
                               ".eyJzdWIiOiI0MiIsImV4cCI6MTgwMDAwMDA2MH0";
    struct buf compact = {.data = NULL};
    char bad[512];
    token_mint_raw(&compact, STR(SECRET), STR(HS256), STR("{\"sub\":\"42\",\"exp\":1800000060}"));
    const char *text = buf_cstr(&compact);
    assert_int_equal(strncmp(text, good, strlen(good)), 0);
    assert_int_equal(verify_text(text, &open_rules), TOKEN_REFUSED_NOT);
    size_t len = strlen(text);

    snprintf(bad, sizeof(bad), "%s=", text);
    assert_int_equal(verify_text(bad, &open_rules), TOKEN_REFUSED_MALFORMED);
    snprintf(bad, sizeof(bad), "%s.", text);
    assert_int_equal(verify_text(bad, &open_rules), TOKEN_REFUSED_MALFORMED);
    snprintf(bad, sizeof(bad), " %s", text);
    assert_int_equal(verify_text(bad, &open_rules), TOKEN_REFUSED_MALFORMED);
    snprintf(bad, sizeof(bad), "%s\n", text);
    assert_int_equal(verify_text(bad, &open_rules), TOKEN_REFUSED_MALFORMED);

    /* 43 characters of a signature hold 2 bits too many: each non-zero value of them is another
     * spelling of the same bytes. */
    snprintf(bad, sizeof(bad), "%s", text);
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t value = (size_t)(strchr(digits, bad[len - 1]) - digits);
    for (size_t spare = 1; spare < 4; spare++) {
        bad[len - 1] = digits[value | spare];
        assert_int_equal(verify_text(bad, &open_rules), TOKEN_REFUSED_MALFORMED);
    }
    static const char *const broken[] = {
        "",         ".",      "..", "...", "a.b", "a..c", ".b.c", "a.b.", "eyJhbGciOiJIUzI1NiJ9",
        "e30.e30.", "e30..AA"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_int_equal(verify_text(broken[i], &open_rules), TOKEN_REFUSED_MALFORMED);
    }
    for (size_t cut = 1; cut < len; cut++) {
        snprintf(bad, sizeof(bad), "%.*s", (int)cut, text);
        assert_int_not_equal(verify_text(bad, &open_rules), TOKEN_REFUSED_NOT);
    }
    buf_fini(&compact);
}

static void any_changed_character_spoils_a_token(void **state)
{
    struct buf compact = {.data = NULL};
    token_mint_raw(&compact, STR(SECRET), STR(HS256), STR("{\"sub\":\"42\",\"exp\":1800000060}"));
    char *text = mem_strndup((char *)compact.data, compact.len);
    for (size_t i = 0; i < compact.len; i++) {
        char kept = text[i];
        text[i] = kept == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify_text(text, &open_rules), TOKEN_REFUSED_NOT);
        text[i] = kept;
    }
    mem_free(text);
    buf_fini(&compact);
}

static void a_token_over_its_limit_is_not_even_read(void **state)
{
    size_t size = 64 * 1024;
    char *text = mem_alloc(size + 1);
    memset(text, 'A', size);
    text[size] = '\0';
    text[20] = '.';
    text[size - 20] = '.';
    assert_int_equal(verify_text(text, &open_rules), TOKEN_REFUSED_TOO_LARGE);
    text[8193] = '\0';
    assert_int_equal(verify_text(text, &open_rules), TOKEN_REFUSED_TOO_LARGE);
    text[8192] = '\0';
    assert_int_equal(verify_text(text, &open_rules), TOKEN_REFUSED_MALFORMED);
    mem_free(text);
}

static void names_count_to_their_limit(void **state)
{
    struct token_rules rules = open_rules;
    rules.name_bytes = 4;
    static const char fits[] = "{\"sub\":\"1234\",\"exp\":1800000060,\"groups\":[\"1234\"]}";
    static const char sub[] = "{\"sub\":\"12345\",\"exp\":1800000060}";
    static const char group[] = "{\"sub\":\"1\",\"exp\":1800000060,\"groups\":[\"12345\"]}";
    assert_int_equal(verify_signed(HS256, fits, &rules), TOKEN_REFUSED_NOT);
    assert_int_equal(verify_signed(HS256, sub, &rules), TOKEN_REFUSED_CLAIMS);
    assert_int_equal(verify_signed(HS256, group, &rules), TOKEN_REFUSED_CLAIMS);
}

static void more_groups_than_the_limit_are_refused(void **state)
{
    for (int count = TOKEN_GROUPS_MAX; count <= TOKEN_GROUPS_MAX + 1; count++) {
        struct buf payload = {.data = NULL};
        buf_append_str(&payload, STR("{\"sub\":\"1\",\"exp\":1800000060,\"groups\":["));
        for (int i = 0; i < count; i++) {
            buf_append_str(&payload, i == 0 ? STR("\"g\"") : STR(",\"g\""));
        }
        buf_append_str(&payload, STR("]}"));
        assert_int_equal(verify_signed(HS256, buf_cstr(&payload), &open_rules),
                         count > TOKEN_GROUPS_MAX ? TOKEN_REFUSED_CLAIMS : TOKEN_REFUSED_NOT);
        buf_fini(&payload);
    }
}

static void a_kid_that_no_key_has_is_told(void **state)
{
    struct buf compact = {.data = NULL};
    struct token token;
    bool unknown = true;
    struct keyset *keys = make_keys("k1");
    const struct token_claims claims = {.sub = STR("42"), .exp_s = now_s + 60};
    token_mint(&compact, STR(SECRET), STR("k1"), &claims);
    assert_int_equal(
        token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, &unknown), 0);
    assert_false(unknown);
    token_fini(&token);
    assert_int_equal(
        token_verify(&token, buf_str(&compact), NULL, &open_rules, now_s * 1000, &unknown),
        TOKEN_REFUSED_KEY);
    assert_true(unknown);
    buf_clear(&compact);
    token_mint(&compact, STR(SECRET), STR("k2"), &claims);
    assert_int_equal(
        token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, &unknown),
        TOKEN_REFUSED_KEY);
    assert_true(unknown);
    keyset_unref(keys);
    buf_fini(&compact);
}

static void append_part(struct buf *out, const void *data, size_t len)
{
    char encoded[1024];
    assert_true(base64_encoded_len(len, BASE64_URL) <= sizeof(encoded));
    buf_append(out, encoded, base64_encode(encoded, data, len, BASE64_URL));
}

/* Signs the text so far with an Ed25519 key, made by OpenSSL and not by us. */
static void append_signature(struct buf *compact, EVP_PKEY *key)
{
    uint8_t signature[64];
    size_t len = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &len, compact->data, compact->len), 1);
    EVP_MD_CTX_free(context);
    buf_append_char(compact, '.');
    append_part(compact, signature, len);
}

static void an_hmac_with_a_public_key_as_secret_does_not_pass(void **state)
{
    /* The classic confusion: the verifier's public key, known to all, used as an HS256 secret. */
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                              "-----END PUBLIC KEY-----\n";
    struct settings_jwt_key configured = {.kind = SETTINGS_KEY_PEM, .material = STR(pem)};
    struct keyset *keys = NULL;
    struct buf compact = {.data = NULL};
    struct token token;
    assert_int_equal(keyset_create(&keys), 0);
    assert_int_equal(keyset_add_configured(keys, &configured), 0);
    static const char *const headers[] = {HS256, "{\"alg\":\"EdDSA\"}"};
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&compact);
        token_mint_raw(&compact, STR(pem), str_of(headers[i]),
                       STR("{\"sub\":\"42\",\"exp\":1800000060}"));
        assert_int_equal(
            token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, NULL),
            i == 0 ? TOKEN_REFUSED_KEY : TOKEN_REFUSED_SIGNATURE);
    }
    keyset_unref(keys);
    buf_fini(&compact);
}

static void one_of_several_keys_without_a_kid_suffices(void **state)
{
    static const char header[] = "{\"alg\":\"EdDSA\"}";
    static const char payload[] = "{\"sub\":\"42\",\"exp\":1800000060}";
    EVP_PKEY *private_keys[3];
    struct keyset *keys = make_keys("");
    for (size_t i = 0; i < 3; i++) {
        uint8_t x[32];
        size_t len = sizeof(x);
        struct buf jwk = {.data = NULL};
        private_keys[i] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        assert_int_equal(EVP_PKEY_get_raw_public_key(private_keys[i], x, &len), 1);
        buf_append_str(&jwk, STR("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"e\",\"x\":\""));
        append_part(&jwk, x, len);
        buf_append_str(&jwk, STR("\"}"));
        struct settings_jwt_key configured = {.kind = SETTINGS_KEY_JWK, .material = buf_str(&jwk)};
        if (i < 2) {
            assert_int_equal(keyset_add_configured(keys, &configured), 0);
        }
        buf_fini(&jwk);
    }
    for (size_t i = 0; i < 3; i++) {
        struct buf compact = {.data = NULL};
        struct token token;
        append_part(&compact, header, strlen(header));
        buf_append_char(&compact, '.');
        append_part(&compact, payload, strlen(payload));
        append_signature(&compact, private_keys[i]);
        assert_int_equal(
            token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, NULL),
            i < 2 ? TOKEN_REFUSED_NOT : TOKEN_REFUSED_SIGNATURE);
        token_fini(&token);
        buf_fini(&compact);
        EVP_PKEY_free(private_keys[i]);
    }
    keyset_unref(keys);
}

static void each_allocation_may_fail(void **state)
{
    struct buf compact = {.data = NULL};
    struct token token;
    struct keyset *keys = make_keys("");
    const struct str group = STR("g");
    const struct token_claims claims = {
        .sub = STR("42"), .exp_s = now_s + 60, .groups = &group, .group_count = 1};
    int err = ERR_NO_MEMORY;
    for (unsigned long nth = 1; err == ERR_NO_MEMORY; nth++) {
        buf_fini(&compact);
        compact = (struct buf){.data = NULL};
        mem_fail_nth(nth);
        err = token_mint(&compact, STR(SECRET), STR(""), &claims);
        mem_fail_nth(0);
    }
    assert_int_equal(err, 0);
    enum token_refusal refusal = TOKEN_REFUSED_NO_MEMORY;
    unsigned long failures = 0;
    while (refusal == TOKEN_REFUSED_NO_MEMORY) {
        mem_fail_nth(++failures);
        refusal = token_verify(&token, buf_str(&compact), keys, &open_rules, now_s * 1000, NULL);
        mem_fail_nth(0);
    }
    assert_int_equal(refusal, TOKEN_REFUSED_NOT);
    assert_int_equal(failures, 3); /* the texts, the groups, then none */
    token_fini(&token);
    keyset_unref(keys);
    buf_fini(&compact);
}

static void every_refusal_has_a_name_of_its_own(void **state)
{
    for (int a = 0; a < TOKEN_REFUSALS; a++) {
        assert_non_null(token_refusal_slug((enum token_refusal)a));
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(token_refusal_slug((enum token_refusal)a),
                                    token_refusal_slug((enum token_refusal)b));
        }
    }
}

static void a_name_is_utf_8_without_control_bytes_and_not_too_long(void **state)
{
    const char *good[] = {"a", "room:1", "gr\xc3\xbc\xc3\x9f", "a b"};
    const char *bad[] = {"", "a\n", "\x7f", "\x1f", "\xff", "\xc3", "\xed\xa0\x80", "123456789"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(token_name_is_clean(str_of(good[i]), 8));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(token_name_is_clean(str_of(bad[i]), 8));
    }
    assert_false(token_name_is_clean(str_make("a\0b", 3), 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minted_token_says_what_went_in),
        cmocka_unit_test(a_name_is_utf_8_without_control_bytes_and_not_too_long),
        cmocka_unit_test(no_groups_and_no_group_are_told_apart),
        cmocka_unit_test(headers_that_are_not_ours_are_refused),
        cmocka_unit_test(claims_are_demanded_and_checked),
        cmocka_unit_test(times_count_with_leeway_to_the_second),
        cmocka_unit_test(issuer_and_audience_must_be_ours_when_we_name_them),
        cmocka_unit_test(a_token_is_three_parts_of_canonical_base64url),
        cmocka_unit_test(any_changed_character_spoils_a_token),
        cmocka_unit_test(a_token_over_its_limit_is_not_even_read),
        cmocka_unit_test(names_count_to_their_limit),
        cmocka_unit_test(more_groups_than_the_limit_are_refused),
        cmocka_unit_test(a_kid_that_no_key_has_is_told),
        cmocka_unit_test(an_hmac_with_a_public_key_as_secret_does_not_pass),
        cmocka_unit_test(one_of_several_keys_without_a_kid_suffices),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(every_refusal_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
