#include "server/request_id.h"

#include <sys/random.h>

#include "base/clock.h"

static bool is_letter(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte && strchr("-._:/+=@", byte));
}

static bool is_sound(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_letter(text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0 && text.len <= REQUEST_ID_MAX;
}

/* Not secret, only unlike all others: splitmix64 from a start of each thread's own. */
static uint64_t next_number(void)
{
    static _Thread_local uint64_t state;
    if (state == 0 && getrandom(&state, sizeof(state), GRND_NONBLOCK) != sizeof(state)) {
        state = clock_ns(CLOCK_REALTIME);
    }
    uint64_t mixed = state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

static void make(struct request_id *out_id)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t number = next_number();
    out_id->len = REQUEST_ID_MADE;
    for (int i = 0; i < REQUEST_ID_MADE; i++) {
        out_id->text[i] = digits[number >> 4 * i & 15];
    }
}

static struct str read_trace(const struct http_request *request)
{
    struct trace_context context;
    struct str parent = http_request_field(request, HTTP_FIELD_TRACEPARENT);
    if (!http_fields_has_one(&request->fields, HTTP_FIELD_TRACEPARENT) ||
        !trace_parent_parse(&context, parent)) {
        return STR("");
    }
    return str_make(parent.ptr + 3, REQUEST_TRACE_LEN); /* behind "00-" */
}

void request_id_read(struct request_id *out_id, const struct http_request *request)
{
    struct str trace = read_trace(request);
    out_id->trace_len = (uint8_t)trace.len;
    memcpy(out_id->trace, trace.ptr, trace.len);
    struct str given = http_request_field(request, HTTP_FIELD_X_REQUEST_ID);
    if (!http_fields_has_one(&request->fields, HTTP_FIELD_X_REQUEST_ID) || !is_sound(given)) {
        make(out_id);
        return;
    }
    memcpy(out_id->text, given.ptr, given.len);
    out_id->len = (uint8_t)given.len;
}

static void describe(const struct log_scope *scope, struct log_fields *out_fields)
{
    const struct request_scope *own = (const struct request_scope *)scope;
    out_fields->request_id = request_id_str(&own->id);
    out_fields->trace_id = request_id_trace(&own->id);
}

void request_scope_enter(struct request_scope *scope, const struct request_id *id)
{
    scope->scope.describe = describe;
    scope->id = *id;
    log_scope_enter(&scope->scope);
}

void request_scope_leave(struct request_scope *scope)
{
    log_scope_leave(&scope->scope);
}
