/* The signature of a RocketMQ request (its ACL): HMAC-SHA1 over the values of all parameters, in
 * the byte order of their names and with nothing between them, and the body. Pure. */
#ifndef TIDEGATE_PROTO_ROCKETMQ_SIGN_H
#define TIDEGATE_PROTO_ROCKETMQ_SIGN_H

#include "proto/rocketmq_frame.h"

enum { ROCKETMQ_SIGNATURE_LEN = 28 }; /* base64 of 20 bytes */

/* fields: all of the request, AccessKey too, at most ROCKETMQ_FIELDS_MAX; they are sorted in place.
 * The signature goes beside them as the field Signature. No NUL. */
void rocketmq_sign(char out[ROCKETMQ_SIGNATURE_LEN], struct str secret,
                   struct rocketmq_field *fields, size_t count, struct str body);

#endif
