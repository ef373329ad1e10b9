#include "net/tls_library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void a_context_is_strict_and_lean(void **state)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    tls_library_set_up(context);
    assert_int_equal(SSL_CTX_get_min_proto_version(context), TLS1_2_VERSION);
    assert_true(SSL_CTX_get_options(context) & SSL_OP_NO_RENEGOTIATION);
    assert_true(SSL_CTX_get_mode(context) & SSL_MODE_RELEASE_BUFFERS);
    assert_int_equal(SSL_CTX_get_session_cache_mode(context), SSL_SESS_CACHE_OFF);
    SSL_CTX_free(context);
}

static void alerts_about_certificates_are_told_from_others(void **state)
{
    assert_true(tls_library_is_about_certificates(SSL_R_TLSV1_ALERT_UNKNOWN_CA));
    assert_true(tls_library_is_about_certificates(SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED));
    assert_true(tls_library_is_about_certificates(SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED));
    assert_false(tls_library_is_about_certificates(SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE));
    assert_false(tls_library_is_about_certificates(SSL_R_NO_SHARED_CIPHER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_context_is_strict_and_lean),
        cmocka_unit_test(alerts_about_certificates_are_told_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
