#include "server/token_key.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"

/* RFC 7515 appendix A.1 to A.3: one payload. */
#define JOE                                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"

static const struct vector {
    enum settings_alg alg;
    const char *jwk;
    const char *text;
    const char *signature;
} vectors[] = {
    {SETTINGS_ALG_HS256,
     "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4h"
     "cgUuTwjAzZr1Z9CAow\"}",
     "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE,
     "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
    {SETTINGS_ALG_RS256,
     "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw"
     "-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0"
     "LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw"
     "Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\","
     "\"e\":\"AQAB\"}",
     "eyJhbGciOiJSUzI1NiJ9." JOE,
     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
     "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb"
     "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
     "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {SETTINGS_ALG_ES256,
     "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
     "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
     "eyJhbGciOiJFUzI1NiJ9." JOE,
     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    {SETTINGS_ALG_EDDSA, /* RFC 8037 A.4 */
     "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
     "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
     "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

enum { VECTORS = sizeof(vectors) / sizeof(vectors[0]) };

static int from_jwk(struct token_key *out_key, enum settings_alg alg, const char *text)
{
    struct json_value jwk;
    assert_int_equal(json_parse(&jwk, str_of(text), 8, NULL), 0);
    return token_key_from_jwk(out_key, alg, STR(""), jwk);
}

static size_t signature_of(const struct vector *vector, uint8_t out[512])
{
    size_t len = 0;
    assert_int_equal(base64_decode(out, 512, &len, str_of(vector->signature), BASE64_URL), 0);
    return len;
}

static void the_examples_of_the_rfcs_verify(void **state)
{
    for (size_t i = 0; i < VECTORS; i++) {
        struct token_key key = {.kid = NULL};
        uint8_t signature[512];
        size_t len = signature_of(&vectors[i], signature);
        struct str text = str_of(vectors[i].text);
        assert_int_equal(from_jwk(&key, SETTINGS_ALG_OF_KEY, vectors[i].jwk), 0);
        assert_int_equal(key.alg, vectors[i].alg);
        assert_true(token_key_verify(&key, text, signature, len));
        token_key_fini(&key);
    }
}

static void a_changed_text_or_signature_does_not_verify(void **state)
{
    for (size_t i = 0; i < VECTORS; i++) {
        struct token_key key = {.kid = NULL};
        uint8_t signature[512];
        size_t len = signature_of(&vectors[i], signature);
        struct str text = str_of(vectors[i].text);
        assert_int_equal(from_jwk(&key, SETTINGS_ALG_OF_KEY, vectors[i].jwk), 0);
        for (size_t at = 0; at < len; at += 7) {
            signature[at] ^= 0x10;
            assert_false(token_key_verify(&key, text, signature, len));
            signature[at] ^= 0x10;
        }
        assert_false(token_key_verify(&key, str_make(text.ptr, text.len - 1), signature, len));
        assert_false(token_key_verify(&key, text, signature, len - 1));
        assert_false(token_key_verify(&key, text, signature, len + 1));
        assert_false(token_key_verify(&key, text, signature, 0));
        token_key_fini(&key);
    }
}

static void a_signature_of_zeros_or_of_the_order_never_verifies(void **state)
{
    /* BAD-INPUT A4; n is the order of P-256: r = n is zero again. */
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                      0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    const struct vector *vector = &vectors[2];
    struct token_key key;
    uint8_t good[512];
    uint8_t signature[64] = {0};
    signature_of(vector, good);
    assert_int_equal(from_jwk(&key, SETTINGS_ALG_ES256, vector->jwk), 0);
    struct str text = str_of(vector->text);
    assert_false(token_key_verify(&key, text, signature, 64));
    memcpy(signature, good, 32); /* s = 0 */
    assert_false(token_key_verify(&key, text, signature, 64));
    memset(signature, 0, 32); /* r = 0 */
    memcpy(signature + 32, good + 32, 32);
    assert_false(token_key_verify(&key, text, signature, 64));
    memcpy(signature, order, 32);
    memcpy(signature + 32, order, 32);
    assert_false(token_key_verify(&key, text, signature, 64));
    token_key_fini(&key);
}

static void a_key_is_good_for_its_own_algorithm_only(void **state)
{
    for (size_t i = 0; i < VECTORS; i++) {
        for (enum settings_alg alg = SETTINGS_ALG_HS256; alg <= SETTINGS_ALG_EDDSA; alg++) {
            struct token_key key = {.kid = NULL};
            int expected = alg == vectors[i].alg ? 0 : ERR_UNSUPPORTED;
            assert_int_equal(from_jwk(&key, alg, vectors[i].jwk), expected);
            token_key_fini(&key);
        }
    }
}

static void weak_foreign_and_broken_keys_are_refused(void **state)
{
    static const struct {
        const char *jwk;
        int err;
    } cases[] = {
        {"[]", ERR_SYNTAX},
        {"{}", ERR_SYNTAX},
        {"{\"kty\":1}", ERR_SYNTAX},
        {"{\"kty\":\"oct\"}", ERR_SYNTAX},
        {"{\"kty\":\"oct\",\"kty\":\"oct\",\"k\":\"AAAA\"}", ERR_SYNTAX},
        {"{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MA\"}", /* 31 bytes */
         ERR_UNSUPPORTED},
        {"{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"}", ERR_SYNTAX},
        {"{\"kty\":\"oct\",\"kid\":7,\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\"}",
         ERR_SYNTAX},
        {"{\"kty\":\"oct\",\"kid\":\"a\\u0000b\","
         "\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\"}",
         ERR_SYNTAX},
        {"{\"kty\":\"oct\",\"alg\":\"HS512\",\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\"}",
         ERR_UNSUPPORTED},
        {"{\"kty\":\"oct\",\"use\":\"enc\",\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\"}",
         ERR_UNSUPPORTED},
        {"{\"kty\":\"oct\",\"key_ops\":[\"sign\"],"
         "\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\"}",
         ERR_UNSUPPORTED},
        {"{\"kty\":\"RSA\",\"n\":\"u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_I"
         "zW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd"
         "3qqGElvW_VDL5AaWTg0nLVkjRo9z-40RQzuVaE8AkAFmxZzow3x-VJYKdjykkJ0iT9wCS0DRTXu269V264Vf_3j"
         "vredZiKRkgwlL9xNAwxXFg0x_XFw005UWVRIkdgcKWTjpBP2dPwVZ4WWC-9aGVd-Gyn1o0CLelf4rEjGoXbAAEg"
         "AqeGUxrcIlbjXfbcmw\",\"e\":\"AQ\"}", /* exponent 1 */
         ERR_SYNTAX},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", ERR_UNSUPPORTED}, /* 17 bits */
        {"{\"kty\":\"RSA\",\"e\":\"AQAB\"}", ERR_SYNTAX},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}", ERR_UNSUPPORTED},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
         "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}", /* not on the curve */
         ERR_SYNTAX},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"}", ERR_UNSUPPORTED},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}", ERR_SYNTAX},
        {"{\"kty\":\"quantum\"}", ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct token_key key = {.kid = NULL};
        assert_int_equal(from_jwk(&key, SETTINGS_ALG_OF_KEY, cases[i].jwk), cases[i].err);
        token_key_fini(&key);
    }
}

static void public_keys_in_pem_are_read(void **state)
{
    static const struct {
        enum settings_alg alg;
        const char *pem;
    } cases[] = {
        {SETTINGS_ALG_RS256, "-----BEGIN PUBLIC KEY-----\n"
                             "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA5jG9g1T1dYIWZN+JCMH4\n"
                             "9eusGlJ6g9D7fMavnS4phkTyCUqZLgjCz8nZ8b4NyyW8O9jdyLhUWL2EOshRVgZz\n"
                             "axMd7W4VFzIrVqOMS325DTU7obq/6z975MmbAGZAcn0+kQRGmh4jd/I0J0Duu2BB\n"
                             "P3E9DYuS1UbERG2gjw+N/677DT1TgHX2wcFBv/5rCdJ3Zj+aVNZPAq75WcccFbNg\n"
                             "wqz65HqIThWTxyLsyJmrvb031XZcFD3VTkGNChtTuwnhnq5g7iOlj3G4aEzJxM7v\n"
                             "3nuPT0eDpb/i9Jl5YXPCT9b5DaLOnPREFoM7TwtVfJmOY6l1r7weSEGCmjfL3Lv6\n"
                             "3QIDAQAB\n"
                             "-----END PUBLIC KEY-----\n"},
        {SETTINGS_ALG_ES256, "-----BEGIN PUBLIC KEY-----\n"
                             "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZRdTk7VwjbdKzmC5snoupgnNcpY5\n"
                             "HRzFezcLa8QIjoGqy9bkvekjPHx+HKEmzAlJAynm+7VazPB4BuBDmxDhUw==\n"
                             "-----END PUBLIC KEY-----\n"},
        {SETTINGS_ALG_EDDSA, "-----BEGIN PUBLIC KEY-----\n"
                             "MCowBQYDK2VwAyEAdF+9SQ/GmC44STcwEtCpP6FOwZNQBETBr1R5wJQc8B0=\n"
                             "-----END PUBLIC KEY-----\n"},
    };
    for (size_t i = 0; i < 3; i++) {
        struct token_key key = {.kid = NULL};
        struct str pem = str_of(cases[i].pem);
        assert_int_equal(token_key_from_pem(&key, SETTINGS_ALG_OF_KEY, STR("a"), pem), 0);
        assert_int_equal(key.alg, cases[i].alg);
        assert_string_equal(key.kid, "a");
        token_key_fini(&key);
        assert_int_equal(token_key_from_pem(&key, SETTINGS_ALG_HS256, STR("a"), pem),
                         ERR_UNSUPPORTED);
        pem.len /= 2;
        assert_int_equal(token_key_from_pem(&key, SETTINGS_ALG_OF_KEY, STR("a"), pem), ERR_SYNTAX);
    }
}

static void curves_and_sizes_that_are_not_ours_are_refused_in_pem_too(void **state)
{
    EVP_PKEY *keys[] = {EVP_EC_gen("P-384"), EVP_RSA_gen(1024)};
    for (size_t i = 0; i < 2; i++) {
        char text[1024];
        struct token_key key;
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_PUBKEY(bio, keys[i]), 1);
        int len = BIO_read(bio, text, sizeof(text));
        assert_true(len > 0);
        assert_int_equal(
            token_key_from_pem(&key, SETTINGS_ALG_OF_KEY, STR(""), str_make(text, (size_t)len)),
            ERR_UNSUPPORTED);
        BIO_free(bio);
        EVP_PKEY_free(keys[i]);
    }
}

static void each_allocation_may_fail(void **state)
{
    for (size_t i = 0; i < VECTORS; i++) {
        int err = ERR_NO_MEMORY;
        for (unsigned long nth = 1; err == ERR_NO_MEMORY; nth++) {
            struct token_key key = {.kid = NULL};
            mem_fail_nth(nth);
            err = from_jwk(&key, SETTINGS_ALG_OF_KEY, vectors[i].jwk);
            mem_fail_nth(0);
            token_key_fini(&key);
        }
        assert_int_equal(err, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfcs_verify),
        cmocka_unit_test(a_changed_text_or_signature_does_not_verify),
        cmocka_unit_test(a_signature_of_zeros_or_of_the_order_never_verifies),
        cmocka_unit_test(a_key_is_good_for_its_own_algorithm_only),
        cmocka_unit_test(weak_foreign_and_broken_keys_are_refused),
        cmocka_unit_test(public_keys_in_pem_are_read),
        cmocka_unit_test(curves_and_sizes_that_are_not_ours_are_refused_in_pem_too),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
