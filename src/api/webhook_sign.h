/* How an app knows that a webhook comes from here, after the Standard Webhooks specification: the
 * headers webhook-id, webhook-timestamp (seconds since 1970, of this try) and webhook-signature,
 * which holds for each secret "v1," and the Base64 of HMAC-SHA-256 over "id.timestamp.body". Pure.
 */
#ifndef TIDEGATE_API_WEBHOOK_SIGN_H
#define TIDEGATE_API_WEBHOOK_SIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/settings.h"

struct webhook_signed {
    struct str id;
    uint64_t timestamp_s;
    struct str body;
};

/* Appends the value of webhook-signature. A secret that begins with "whsec_" is Base64 behind that,
 * any other is used as it is. 0 or ERR_NO_MEMORY. */
int webhook_sign(struct buf *out, const struct webhook_signed *what,
                 const struct settings_secret *secrets, size_t secret_count);

/* Whether the Base64 of a "whsec_" secret is sound and holds 24 bytes or more. True for others. */
bool webhook_secret_is_sound(struct str secret);

#endif
