/* What both sides of TLS ask of OpenSSL in the same way. */
#ifndef TIDEGATE_NET_TLS_LIBRARY_H
#define TIDEGATE_NET_TLS_LIBRARY_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* TLS 1.2 or later; no renegotiation, compression or cache of sessions; buffers only while they are
 * in use; writes that take what they can; and no question for a key's password at the terminal. */
void tls_library_set_up(SSL_CTX *context);

/* For PEM_read_…: a key that is encrypted is an error. */
int tls_library_no_password(char *out, int size, int is_writing, void *owner);

/* The peer's alert is about a certificate, ours or its own. reason: of an OpenSSL error. */
bool tls_library_is_about_certificates(int reason);

#endif
