/* What the sources of ws_protocol share; nobody else includes it.
 *   ws_protocol.c           frames of a client that has said hello
 *   ws_protocol_hello.c     how a session begins
 *   ws_protocol_identity.c  tokens, users, expiry
 *   ws_protocol_groups.c    joins
 *   ws_protocol_up.c        frames of a client of an event stream
 *   ws_protocol_out.c       frames to the client */
#ifndef TIDEGATE_SERVER_WS_PROTOCOL_PRIVATE_H
#define TIDEGATE_SERVER_WS_PROTOCOL_PRIVATE_H

#include "proto/json.h"
#include "server/ws_protocol.h"

/* Tags of joins: the request number plus one; these two are no numbers. */
#define WS_TAG_NO_ANSWER UINT32_MAX

static inline const struct tenant *ws_protocol_tenant(const struct worker *worker,
                                                      const struct session *session)
{
    return &worker->tenants->items[session->app];
}

static inline const struct settings_limits *ws_protocol_limits(const struct worker *worker)
{
    return &worker->settings->limits;
}

enum field {
    F_T,
    F_RE,
    F_V,
    F_TOKEN,
    F_DEVICE,
    F_ATTRS,
    F_ORIGIN,
    F_GROUPS,
    F_GRANTS,
    F_RESUME,
    F_G,
    F_IDS,
    F_CLAIM,
    F_TYPE,
    F_DATA,
    FIELDS,
};

struct frame_reading {
    struct worker *worker;
    struct session *session;
    struct json_field fields[FIELDS];
    uint32_t tag;                        /* of the answer */
    const struct session_resume *resume; /* hello's, from Last-Event-ID; or NULL */
};

/* ws_protocol.c */
void ws_protocol_name_fields(struct json_field fields[FIELDS]);
void ws_protocol_bad_frame(struct frame_reading *reading);

/* The text of a field; an absent one is "". False when it is no string or too long. */
bool ws_protocol_text_field(struct frame_reading *reading, enum field field, char *scratch,
                            size_t cap, struct str *out_text);

/* Calls take for each string of an array. False when the field is there and is no array of strings.
 */
bool ws_protocol_each_text(struct frame_reading *reading, enum field field, size_t max,
                           void (*take)(struct worker *, struct session *, struct str));

/* ws_protocol_hello.c */
void ws_protocol_on_hello(struct frame_reading *reading);

/* ws_protocol_identity.c */

/* The token's groups in place of those of an earlier one. 0 or ERR_NO_MEMORY. */
int ws_protocol_keep_rights(struct worker *worker, struct session *session,
                            const struct credential *credential);

/* By what the session is found when its token is revoked. 0 or ERR_NO_MEMORY. */
int ws_protocol_keep_token(struct worker *worker, struct session *session,
                           const struct credential *credential);
void ws_protocol_keep_expiry(struct worker *worker, struct session *session, uint64_t exp_ms);
/* "": none, which is an anonymous user where the app has those. False: the session ends for it. */
bool ws_protocol_identify_by_token(struct worker *worker, struct session *session,
                                   struct str token);
bool ws_protocol_is_identified(const struct worker *worker, const struct session *session);

/* For a token that is refused in hello or refresh. */
static inline uint16_t ws_protocol_close_of(enum credential_refusal refusal)
{
    return refusal == CREDENTIAL_REFUSED_REVOKED ? WS_CLOSE_REVOKED : WS_CLOSE_TOKEN_INVALID;
}

enum credential_refusal ws_protocol_read_token(struct worker *worker, const struct session *session,
                                               struct str token, struct credential *out_credential);

/* ws_protocol_groups.c */

/* These return NULL when all is well, "" when the session is a member already, or a code for `err`.
 */

/* Whether the group has a name and the session room for it. */
const char *ws_protocol_check_join(const struct worker *worker, const struct session *session,
                                   struct str group);

/* What was checked and is allowed; tag: of the answer, 0 in hello. */
const char *ws_protocol_enter(struct worker *worker, struct session *session, struct str group,
                              uint32_t tag);

/* All of it, in hello. is_allowed: whatever the session's own rights are. */
const char *ws_protocol_join(struct worker *worker, struct session *session, struct str group,
                             bool is_allowed);

/* By the app's rules and the session's token. */
bool ws_protocol_may_join(const struct worker *worker, const struct session *session,
                          struct str group);
void ws_protocol_join_in_hello(struct worker *worker, struct session *session, struct str group,
                               bool is_allowed);
void ws_protocol_join_by_grant(struct worker *worker, struct session *session, struct str text);

/* Answers with `err`. */
void ws_protocol_refuse(struct worker *worker, struct session *session, uint32_t tag,
                        struct str group, const char *code);

/* ws_protocol_out.c */
void ws_protocol_send_sid(struct worker *worker, struct session *session);
void ws_protocol_send_ok(struct worker *worker, struct session *session, uint32_t tag);
void ws_protocol_send_err(struct worker *worker, struct session *session, uint32_t tag,
                          struct str group, const char *code, const char *title);

#endif
