/* The credential in an Authorization header (RFC 6750). Pure. */
#ifndef TIDEGATE_SERVER_BEARER_H
#define TIDEGATE_SERVER_BEARER_H

#include "base/str.h"

/* "Bearer abc" → "abc", borrowed; the scheme in any case. False for another scheme, and for a
 * credential that is empty or holds anything but visible ASCII. */
bool bearer_parse(struct str authorization, struct str *out_credential);

#endif
