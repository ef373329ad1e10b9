#include "proto/ws_deflate_offer.h"

#include <stdio.h>

#include "base/err.h"
#include "proto/ws_deflate.h"

/* RFC 9110 5.6.2 */
static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip(struct str *rest, size_t len)
{
    rest->ptr += len;
    rest->len -= len;
}

static void skip_blanks(struct str *rest)
{
    while (rest->len > 0 && (*rest->ptr == ' ' || *rest->ptr == '\t')) {
        skip(rest, 1);
    }
}

static bool take_char(struct str *rest, char c)
{
    skip_blanks(rest);
    if (rest->len == 0 || *rest->ptr != c) {
        return false;
    }
    skip(rest, 1);
    return true;
}

static bool take_token(struct str *rest, struct str *out_token)
{
    size_t len = 0;
    skip_blanks(rest);
    while (len < rest->len && is_token_char(rest->ptr[len])) {
        len++;
    }
    *out_token = str_make(rest->ptr, len);
    skip(rest, len);
    return len > 0;
}

/* The inside of "..."; escapes stay as they are, since no value we know needs one. */
static bool take_quoted(struct str *rest, struct str *out_inside)
{
    for (size_t i = 1; i < rest->len; i++) {
        if (rest->ptr[i] == '"') {
            *out_inside = str_make(rest->ptr + 1, i - 1);
            skip(rest, i + 1);
            return true;
        }
        i += rest->ptr[i] == '\\';
    }
    return false;
}

static bool take_value(struct str *rest, struct str *out_value)
{
    skip_blanks(rest);
    if (rest->len > 0 && *rest->ptr == '"') {
        return take_quoted(rest, out_value);
    }
    return take_token(rest, out_value);
}

enum {
    SERVER_NO_TAKEOVER = 1,
    CLIENT_NO_TAKEOVER = 2,
    SERVER_BITS = 4,
    CLIENT_BITS = 8,
};

/* One extension of the list. */
struct extension {
    struct str name;
    bool good;     /* permessage-deflate, every parameter known, once, and in its range */
    unsigned seen; /* parameters, bits as above */
    uint8_t server_bits;
};

static unsigned param_of(struct str name)
{
    if (str_equal(name, STR("server_no_context_takeover"))) {
        return SERVER_NO_TAKEOVER;
    }
    if (str_equal(name, STR("client_no_context_takeover"))) {
        return CLIENT_NO_TAKEOVER;
    }
    if (str_equal(name, STR("server_max_window_bits"))) {
        return SERVER_BITS;
    }
    return str_equal(name, STR("client_max_window_bits")) ? CLIENT_BITS : 0;
}

/* RFC 7692 7.1.2: 8 to 15, decimal, no leading zero. */
static bool bits_of(struct str value, uint8_t *out_bits)
{
    uint64_t bits;
    if (value.len == 0 || value.ptr[0] == '0' || !str_to_u64(value, 15, &bits) || bits < 8) {
        return false;
    }
    *out_bits = (uint8_t)bits;
    return true;
}

static bool value_is_good(struct extension *ext, unsigned param, const struct str *value)
{
    uint8_t ignored;
    switch (param) {
    case SERVER_BITS: return value && bits_of(*value, &ext->server_bits);
    case CLIENT_BITS: return !value || bits_of(*value, &ignored);
    default: return !value;
    }
}

static void note_param(struct extension *ext, struct str name, const struct str *value)
{
    unsigned param = param_of(name);
    if (param == 0 || (ext->seen & param) || !value_is_good(ext, param, value)) {
        ext->good = false;
    }
    ext->seen |= param;
}

/* extension = token *( ";" token [ "=" ( token | quoted-string ) ] ); false on bad syntax. */
static bool take_extension(struct str *rest, struct extension *ext)
{
    *ext = (struct extension){.server_bits = WS_WINDOW_BITS_MAX};
    if (!take_token(rest, &ext->name)) {
        return false;
    }
    ext->good = str_equal(ext->name, STR("permessage-deflate"));
    while (take_char(rest, ';')) {
        struct str name;
        struct str value;
        if (!take_token(rest, &name)) {
            return false;
        }
        bool valued = take_char(rest, '=');
        if (valued && !take_value(rest, &value)) {
            return false;
        }
        note_param(ext, name, valued ? &value : NULL);
    }
    return true;
}

/* Moves to the next extension of a comma-separated list, whose elements may be empty (RFC 9110
 * 5.6.1). 1, 0 at the end, ERR_SYNTAX. */
static int next_extension(struct str *rest, struct extension *ext)
{
    while (take_char(rest, ',')) {
    }
    if (rest->len == 0) {
        return 0;
    }
    if (!take_extension(rest, ext)) {
        return ERR_SYNTAX;
    }
    skip_blanks(rest);
    return rest->len == 0 || *rest->ptr == ',' ? 1 : ERR_SYNTAX;
}

static void consider(struct ws_deflate_choice *choice, const struct extension *ext)
{
    if (choice->accepted || !ext->good || ext->server_bits < WS_WINDOW_BITS_MIN) {
        return;
    }
    choice->accepted = true;
    choice->bits_asked = ext->seen & SERVER_BITS;
    choice->window_bits = ext->server_bits;
}

int ws_deflate_choose(struct ws_deflate_choice *out_choice, const struct str *lines, size_t count)
{
    struct ws_deflate_choice choice = {0};
    *out_choice = choice;
    for (size_t i = 0; i < count; i++) {
        struct str rest = lines[i];
        struct extension ext;
        int more;
        while ((more = next_extension(&rest, &ext)) > 0) {
            consider(&choice, &ext);
        }
        if (more < 0) {
            return more;
        }
    }
    *out_choice = choice;
    return 0;
}

#define NO_TAKEOVER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

static struct str write_line(char out[WS_DEFLATE_ANSWER_MAX], bool with_bits, int bits)
{
    int len = with_bits ? snprintf(out, WS_DEFLATE_ANSWER_MAX,
                                   NO_TAKEOVER "; server_max_window_bits=%d", bits)
                        : snprintf(out, WS_DEFLATE_ANSWER_MAX, NO_TAKEOVER);
    return str_make(out, (size_t)len);
}

struct str ws_deflate_answer_write(char out[WS_DEFLATE_ANSWER_MAX],
                                   const struct ws_deflate_choice *choice)
{
    return write_line(out, choice->bits_asked, choice->window_bits);
}

struct str ws_deflate_offer_write(char out[WS_DEFLATE_ANSWER_MAX], int window_bits)
{
    return write_line(out, window_bits < WS_WINDOW_BITS_MAX, window_bits);
}

int ws_deflate_answer_read(struct ws_deflate_choice *out_choice, struct str line)
{
    struct extension ext;
    struct extension second;
    struct ws_deflate_choice choice = {0};
    int more = next_extension(&line, &ext);
    if (more > 0) {
        /* We never offer client_max_window_bits, and without server_no_context_takeover each
         * message would need the ones before it. */
        if (!ext.good || (ext.seen & CLIENT_BITS) || !(ext.seen & SERVER_NO_TAKEOVER) ||
            next_extension(&line, &second) != 0) {
            return ERR_PROTOCOL;
        }
        choice = (struct ws_deflate_choice){
            .accepted = true, .bits_asked = ext.seen & SERVER_BITS, .window_bits = ext.server_bits};
    }
    if (more < 0) {
        return ERR_PROTOCOL;
    }
    *out_choice = choice;
    return 0;
}
