#include "net/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/tls_library.h"

/* RFC 9325 4.2, without what has no forward secrecy or no AEAD. */
#define SUITES_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define GROUPS "X25519:P-256:P-384"

struct tls_context {
    atomic_int refs;
    SSL_CTX **members; /* one a certificate */
    size_t count;
    int64_t expiry_s;
};

/* ---- PEM ---- */

static const char *reason_of_failure(const char *otherwise)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : otherwise;
}

static bool is_out_of_memory(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

/* What comes behind the last certificate is no error when it is nothing. */
static bool is_end_of_pem(void)
{
    unsigned long error = ERR_peek_last_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/* Calls take for each certificate of the text; take owns it. NULL, or what is wrong. */
static const char *each_certificate(struct str pem,
                                    const char *(*take)(void *owner, X509 *cert, bool is_first),
                                    void *owner)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    const char *problem = bio ? NULL : "memory is out";
    bool is_first = true;
    while (!problem) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, tls_library_no_password, NULL);
        if (!cert) {
            problem = is_first          ? "there is no certificate in PEM in it"
                      : is_end_of_pem() ? NULL
                                        : "one of its certificates is damaged";
            break;
        }
        problem = take(owner, cert, is_first);
        is_first = false;
    }
    BIO_free(bio);
    return problem;
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm parts;
    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

/* ---- one member: a certificate with its key ---- */

struct member {
    SSL_CTX *context;
    struct tls_validity validity;
};

static const char *take_own(void *owner, X509 *cert, bool is_first)
{
    struct member *member = owner;
    if (!is_first) {
        if (SSL_CTX_add0_chain_cert(member->context, cert) == 1) {
            return NULL;
        }
        X509_free(cert);
        return reason_of_failure("its chain can't be used");
    }
    member->validity.from_s = seconds_of(X509_get0_notBefore(cert));
    member->validity.until_s = seconds_of(X509_get0_notAfter(cert));
    bool is_taken = SSL_CTX_use_certificate(member->context, cert) == 1;
    X509_free(cert);
    return is_taken ? NULL : reason_of_failure("it can't be used");
}

static const char *load_key(SSL_CTX *context, struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_library_no_password, NULL) : NULL;
    BIO_free(bio);
    if (!key) {
        return "the key's file holds no key in PEM without a password";
    }
    bool is_taken = SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    if (is_taken) {
        return NULL;
    }
    return ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH
               ? "the key is not the certificate's"
               : reason_of_failure("the key can't be used");
}

static const char *take_authority(void *owner, X509 *cert, bool is_first)
{
    SSL_CTX *context = owner;
    bool is_taken = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), cert) == 1 &&
                    SSL_CTX_add_client_CA(context, cert) == 1;
    X509_free(cert);
    return is_taken ? NULL : reason_of_failure("one of them can't be used");
}

/* RFC 7301 3.2: a client that names only protocols we don't speak is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *offered, unsigned offered_len, void *owner)
{
    static const unsigned char http[] = "\x08http/1.1";
    unsigned char *chosen;
    int found = SSL_select_next_proto(&chosen, out_len, http, sizeof(http) - 1, offered,
                                      offered_len);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *find_member(const struct tls_context *context, const char *name)
{
    for (size_t i = 0; i < context->count; i++) {
        X509 *cert = SSL_CTX_get0_certificate(context->members[i]);
        if (X509_check_host(cert, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1) {
            return context->members[i];
        }
    }
    return context->members[0];
}

static int choose_certificate(SSL *ssl, int *alert, void *owner)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    SSL_CTX *member = find_member(owner, name);
    if (SSL_get_SSL_CTX(ssl) != member) {
        SSL_set_SSL_CTX(ssl, member);
    }
    return SSL_TLSEXT_ERR_OK;
}

static void set_up_tickets(SSL_CTX *context, bool asks_clients)
{
    static const unsigned char id[] = "tidegate";
    SSL_CTX_set_session_id_context(context, id, sizeof(id) - 1);
    SSL_CTX_set_num_tickets(context, asks_clients ? 0 : 1); /* of TLS 1.3 */
    if (asks_clients) {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    }
}

static bool set_up(SSL_CTX *context, const struct tls_context_options *options)
{
    bool asks_clients = options->client_ca.len > 0;
    tls_library_set_up(context);
    if (options->only_1_3) {
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    }
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    set_up_tickets(context, asks_clients);
    if (asks_clients) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return SSL_CTX_set_cipher_list(context, SUITES_1_2) == 1 &&
           SSL_CTX_set1_groups_list(context, GROUPS) == 1;
}

static const char *fill_member(struct member *member, const struct tls_certificate *certificate)
{
    const char *problem = each_certificate(certificate->chain, take_own, member);
    return problem ? problem : load_key(member->context, certificate->key);
}

/* Errors of the library are many; whether memory was out is asked of it alone. */
static int verdict(const char *problem, const char **out_problem)
{
    bool memory_is_out = problem && is_out_of_memory();
    ERR_clear_error();
    if (memory_is_out) {
        return ERR_NO_MEMORY;
    }
    if (problem) {
        *out_problem = problem;
    }
    return problem ? ERR_SYNTAX : 0;
}

/* ---- the context ---- */

static int add_member(struct tls_context *context, const struct tls_context_options *options,
                      const char **out_problem)
{
    struct member member = {.context = SSL_CTX_new(TLS_server_method())};
    if (!member.context) {
        return ERR_NO_MEMORY;
    }
    context->members[context->count] = member.context;
    const char *problem = set_up(member.context, options) ? NULL : "the library lacks a suite";
    problem = problem ? problem : fill_member(&member, &options->certificates[context->count]);
    if (!problem && options->client_ca.len > 0) {
        problem = each_certificate(options->client_ca, take_authority, member.context);
    }
    int64_t until_s = member.validity.until_s;
    context->expiry_s = context->count == 0 || until_s < context->expiry_s ? until_s
                                                                           : context->expiry_s;
    context->count++;
    SSL_CTX_set_tlsext_servername_callback(member.context, choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(member.context, context);
    return verdict(problem, out_problem);
}

int tls_context_create(struct tls_context **out_context, const struct tls_context_options *options,
                       const char **out_problem)
{
    struct tls_context *context = mem_zalloc(sizeof(*context));
    SSL_CTX **members = mem_zalloc(sizeof(SSL_CTX *) * options->count);
    if (!context || !members) {
        mem_free(context);
        mem_free(members);
        return ERR_NO_MEMORY;
    }
    atomic_init(&context->refs, 1);
    context->members = members;
    int err = 0;
    while (context->count < options->count && !err) {
        err = add_member(context, options, out_problem);
    }
    if (err) {
        tls_context_unref(context);
        return err;
    }
    *out_context = context;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < context->count; i++) {
        SSL_CTX_free(context->members[i]);
    }
    mem_free(context->members);
    mem_free(context);
}

int64_t tls_context_expiry_s(const struct tls_context *context)
{
    return context->expiry_s;
}

struct ssl_st *tls_context_session(struct tls_context *context)
{
    return SSL_new(context->members[0]);
}

/* ---- before it is used ---- */

int tls_certificate_check(const struct tls_certificate *certificate,
                          struct tls_validity *out_validity, const char **out_problem)
{
    struct member member = {.context = SSL_CTX_new(TLS_server_method())};
    if (!member.context) {
        return ERR_NO_MEMORY;
    }
    int err = verdict(fill_member(&member, certificate), out_problem);
    SSL_CTX_free(member.context);
    if (!err) {
        *out_validity = member.validity;
    }
    return err;
}

int tls_authorities_check(struct str pem, const char **out_problem)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) {
        return ERR_NO_MEMORY;
    }
    int err = verdict(each_certificate(pem, take_authority, context), out_problem);
    SSL_CTX_free(context);
    return err;
}
