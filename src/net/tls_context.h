/* What the TLS connections of a listener share: certificates, chosen by the name that a client asks
 * for (SNI, RFC 6066 3), and the authorities of clients' certificates. Immutable, for any thread;
 * a reload makes another one, and connections made before keep theirs.
 *
 * TLS 1.2 or 1.3, forward-secret AEAD suites alone, no compression, no renegotiation, no early
 * data. Of protocols (ALPN, RFC 7301) http/1.1 alone. A client may resume by a ticket, whose key is
 * the context's: nothing is kept for it here. Where clients show certificates there are none, so
 * that each certificate is looked at anew. */
#ifndef TIDEGATE_NET_TLS_CONTEXT_H
#define TIDEGATE_NET_TLS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct tls_context; /* tls_context.c */
struct ssl_st;      /* OpenSSL's SSL */

/* PEM: the certificate first, behind it those that lead to its authority; and its key, without a
 * password. */
struct tls_certificate {
    struct str chain;
    struct str key;
};

struct tls_context_options {
    const struct tls_certificate *certificates; /* the first is for names that none has */
    size_t count;                               /* not 0 */
    struct str
        client_ca; /* PEM, what clients' certificates must come from; "": none is asked for */
    bool only_1_3;
};

/* 0, ERR_NO_MEMORY, or ERR_SYNTAX with *out_problem (static), a phrase. */
int tls_context_create(struct tls_context **out_context, const struct tls_context_options *options,
                       const char **out_problem);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* NULL is fine */

/* When the first of its certificates ends, in seconds of the wall clock. */
int64_t tls_context_expiry_s(const struct tls_context *context);

/* A server's session in it, without a socket. NULL when memory is out. */
struct ssl_st *tls_context_session(struct tls_context *context);

/* When a certificate begins and ends, if it and its key can be used. Errors as above. */
struct tls_validity {
    int64_t from_s, until_s; /* seconds of the wall clock */
};
int tls_certificate_check(const struct tls_certificate *certificate,
                          struct tls_validity *out_validity, const char **out_problem);

/* The same for the authorities of clients; how many certificates there are is not told. */
int tls_authorities_check(struct str pem, const char **out_problem);

#endif
