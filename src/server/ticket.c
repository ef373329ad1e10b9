#include "server/ticket.h"

#include "base/err.h"
#include "proto/json.h"

enum { CLAIMS_MAX = TICKET_MEMORY / 2 };

int ticket_write(struct buf *out, const uint8_t key[SIGNED_KEY_LEN], const struct ticket *ticket)
{
    struct buf claims = {0};
    size_t start = out->len;
    buf_append_char(&claims, '{');
    json_write_string_field(&claims, STR("a"), ticket->app);
    json_write_string_field(&claims, STR("t"), ticket->id);
    json_write_string_field(&claims, STR("s"), ticket->scene);
    json_write_string_field(&claims, STR("u"), ticket->user);
    json_write_u64_field(&claims, STR("e"), ticket->expires_ms);
    json_write_u64_field(&claims, STR("i"), ticket->issued_ms);
    buf_append_char(&claims, '}');
    int err = buf_err(&claims) ? buf_err(&claims) : signed_write(out, key, buf_str(&claims));
    buf_fini(&claims);
    return !err && out->len - start > TICKET_MAX ? ERR_TOO_LARGE : err;
}

enum field { FIELD_APP, FIELD_ID, FIELD_SCENE, FIELD_USER, FIELD_EXPIRES, FIELD_ISSUED, FIELDS };

/* Nodes of before did not write it: then any revocation may be of later. */
static bool read_issued(struct json_value value, uint64_t *out_ms)
{
    *out_ms = 1;
    return value.type == JSON_TYPE_NONE || (json_u64(value, UINT64_MAX, out_ms) && *out_ms > 0);
}

static int read_claims(struct ticket *ticket, struct str json, char *scratch, size_t cap)
{
    struct json_value object;
    struct json_field fields[FIELDS] = {
        [FIELD_APP] = {.name = STR("a")},     [FIELD_ID] = {.name = STR("t")},
        [FIELD_SCENE] = {.name = STR("s")},   [FIELD_USER] = {.name = STR("u")},
        [FIELD_EXPIRES] = {.name = STR("e")}, [FIELD_ISSUED] = {.name = STR("i")},
    };
    struct str *texts[] = {&ticket->app, &ticket->id, &ticket->scene, &ticket->user};
    if (json_parse(&object, json, 1, NULL) || json_read_fields(object, fields, FIELDS, NULL)) {
        return ERR_SYNTAX;
    }
    for (int i = FIELD_APP; i <= FIELD_USER; i++) {
        if (json_string_text(fields[i].value, scratch, cap, texts[i])) {
            return ERR_SYNTAX;
        }
        if (texts[i]->ptr == scratch) {
            scratch += texts[i]->len;
            cap -= texts[i]->len;
        }
    }
    return json_u64(fields[FIELD_EXPIRES].value, UINT64_MAX, &ticket->expires_ms) &&
                   read_issued(fields[FIELD_ISSUED].value, &ticket->issued_ms)
               ? 0
               : ERR_SYNTAX;
}

int ticket_read(struct ticket *out_ticket, char memory[TICKET_MEMORY],
                const uint8_t key[SIGNED_KEY_LEN], struct str text, uint64_t now_ms)
{
    struct str claims;
    struct ticket ticket;
    int err = text.len > TICKET_MAX ? ERR_SYNTAX
                                    : signed_read(memory, CLAIMS_MAX, &claims, key, text);
    if (!err) {
        err = read_claims(&ticket, claims, memory + CLAIMS_MAX, TICKET_MEMORY - CLAIMS_MAX);
    }
    if (!err && ticket.expires_ms <= now_ms) {
        err = ERR_EXPIRED;
    }
    if (!err) {
        *out_ticket = ticket;
    }
    return err;
}
