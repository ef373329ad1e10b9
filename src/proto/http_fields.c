#include "proto/http_fields.h"

#include <endian.h>

/* RFC 9110 5.6.2: tchar. A token byte maps to itself in lower case, any other to 0. */
static const uint8_t TOKEN[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b',   ['C'] = 'c',
    ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',   ['J'] = 'j',
    ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p',   ['Q'] = 'q',
    ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w',   ['X'] = 'x',
    ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd',   ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',   ['l'] = 'l',
    ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',   ['s'] = 's',
    ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',   ['z'] = 'z',
};

static const char *const NAMES[HTTP_FIELDS] = {
    [HTTP_FIELD_OTHER] = "",
    [HTTP_FIELD_HOST] = "host",
    [HTTP_FIELD_COOKIE] = "cookie",
    [HTTP_FIELD_EXPECT] = "expect",
    [HTTP_FIELD_ORIGIN] = "origin",
    [HTTP_FIELD_UPGRADE] = "upgrade",
    [HTTP_FIELD_CONNECTION] = "connection",
    [HTTP_FIELD_USER_AGENT] = "user-agent",
    [HTTP_FIELD_TRACEPARENT] = "traceparent",
    [HTTP_FIELD_CONTENT_TYPE] = "content-type",
    [HTTP_FIELD_X_REQUEST_ID] = "x-request-id",
    [HTTP_FIELD_AUTHORIZATION] = "authorization",
    [HTTP_FIELD_LAST_EVENT_ID] = "last-event-id",
    [HTTP_FIELD_CONTENT_LENGTH] = "content-length",
    [HTTP_FIELD_IDEMPOTENCY_KEY] = "idempotency-key",
    [HTTP_FIELD_X_FORWARDED_FOR] = "x-forwarded-for",
    [HTTP_FIELD_TIDEGATE_SESSION] = "tidegate-session",
    [HTTP_FIELD_TRANSFER_ENCODING] = "transfer-encoding",
    [HTTP_FIELD_SEC_WEBSOCKET_KEY] = "sec-websocket-key",
    [HTTP_FIELD_SEC_WEBSOCKET_ACCEPT] = "sec-websocket-accept",
    [HTTP_FIELD_SEC_WEBSOCKET_VERSION] = "sec-websocket-version",
    [HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL] = "sec-websocket-protocol",
    [HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS] = "sec-websocket-extensions",
};

/* The names of each length: the enum is ordered by it, so a length has one run of fields. */
static const struct {
    uint8_t from;
    uint8_t to;
} BY_LENGTH[] = {
    [4] = {HTTP_FIELD_HOST, HTTP_FIELD_HOST},
    [6] = {HTTP_FIELD_COOKIE, HTTP_FIELD_ORIGIN},
    [7] = {HTTP_FIELD_UPGRADE, HTTP_FIELD_UPGRADE},
    [10] = {HTTP_FIELD_CONNECTION, HTTP_FIELD_USER_AGENT},
    [11] = {HTTP_FIELD_TRACEPARENT, HTTP_FIELD_TRACEPARENT},
    [12] = {HTTP_FIELD_CONTENT_TYPE, HTTP_FIELD_X_REQUEST_ID},
    [13] = {HTTP_FIELD_AUTHORIZATION, HTTP_FIELD_LAST_EVENT_ID},
    [14] = {HTTP_FIELD_CONTENT_LENGTH, HTTP_FIELD_CONTENT_LENGTH},
    [15] = {HTTP_FIELD_IDEMPOTENCY_KEY, HTTP_FIELD_X_FORWARDED_FOR},
    [16] = {HTTP_FIELD_TIDEGATE_SESSION, HTTP_FIELD_TIDEGATE_SESSION},
    [17] = {HTTP_FIELD_TRANSFER_ENCODING, HTTP_FIELD_SEC_WEBSOCKET_KEY},
    [20] = {HTTP_FIELD_SEC_WEBSOCKET_ACCEPT, HTTP_FIELD_SEC_WEBSOCKET_ACCEPT},
    [21] = {HTTP_FIELD_SEC_WEBSOCKET_VERSION, HTTP_FIELD_SEC_WEBSOCKET_VERSION},
    [22] = {HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL, HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL},
    [24] = {HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS, HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS},
};

static bool is_name(const uint8_t *name, const char *lower, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (TOKEN[name[i]] != (uint8_t)lower[i]) {
            return false;
        }
    }
    return true;
}

static enum http_field identify(const uint8_t *name, size_t len)
{
    if (len >= sizeof(BY_LENGTH) / sizeof(BY_LENGTH[0]) || !BY_LENGTH[len].from) {
        return HTTP_FIELD_OTHER;
    }
    for (unsigned field = BY_LENGTH[len].from; field <= BY_LENGTH[len].to; field++) {
        if (is_name(name, NAMES[field], len)) {
            return (enum http_field)field;
        }
    }
    return HTTP_FIELD_OTHER;
}

static const uint8_t *skip_token(const uint8_t *p, const uint8_t *end)
{
    while (p < end && TOKEN[*p]) {
        p++;
    }
    return p;
}

static bool is_control(uint8_t byte)
{
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

/* Eight bytes at a time: the first byte below 0x20 or equal to 0x7f, tabs included. Subtracting
 * borrows from the byte above only behind a hit, so the lowest hit is a true one. */
static const uint8_t *find_low_byte(const uint8_t *p, const uint8_t *end)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t tops = 0x8080808080808080u;
    for (; end - p >= 8; p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        word = le64toh(word);
        uint64_t del = word ^ (ones * 0x7f);
        uint64_t hits = (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & tops;
        if (hits) {
            return p + (__builtin_ctzll(hits) >> 3);
        }
    }
    while (p < end && *p >= 0x20 && *p != 0x7f) {
        p++;
    }
    return p;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
    for (;;) {
        p = find_low_byte(p, end);
        if (p == end || is_control(*p)) {
            return p;
        }
        p++;
    }
}

static const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    return p;
}

static enum http_refusal name_refusal(const uint8_t *line, const uint8_t *at)
{
    switch (*at) {
    case '\n': return HTTP_REFUSED_BARE_LF;
    case ' ':
    case '\t': return at == line ? HTTP_REFUSED_OBS_FOLD : HTTP_REFUSED_SPACE_BEFORE_COLON;
    default: return HTTP_REFUSED_BAD_HEADER_NAME;
    }
}

static enum http_refusal value_refusal(uint8_t byte)
{
    return byte == '\n' ? HTTP_REFUSED_BARE_LF : HTTP_REFUSED_BAD_HEADER_VALUE;
}

static ssize_t refuse(enum http_refusal *out_refusal, enum http_refusal refusal)
{
    *out_refusal = refusal;
    return http_refusal_err(refusal);
}

static void add_header(struct http_fields *fields, struct str name, struct str value)
{
    enum http_field field = identify((const uint8_t *)name.ptr, name.len);
    fields->headers[fields->count++] = (struct http_header){name, value, field};
    if (field != HTTP_FIELD_OTHER) {
        if (fields->first[field]) {
            fields->repeated |= 1u << field;
        } else {
            fields->first[field] = (uint8_t)fields->count;
        }
    }
}

/* The length limit is looked at before what stopped a scan: so the verdict on a line doesn't depend
 * on how much of it has arrived. */
static ssize_t parse_line(struct http_fields *fields, size_t line_max, const uint8_t *line,
                          const uint8_t *end, enum http_refusal *out_refusal)
{
    const uint8_t *colon = skip_token(line, end);
    if ((size_t)(colon - line) > line_max) {
        return refuse(out_refusal, HTTP_REFUSED_HEADER_LINE_TOO_LONG);
    }
    if (colon == end) {
        return 0;
    }
    if (*colon != ':' || colon == line) {
        return refuse(out_refusal, name_refusal(line, colon));
    }
    const uint8_t *value = skip_blanks(colon + 1, end);
    const uint8_t *stop = skip_value(value, end);
    if ((size_t)(stop - line) > line_max) {
        return refuse(out_refusal, HTTP_REFUSED_HEADER_LINE_TOO_LONG);
    }
    if (stop == end) {
        return 0;
    }
    if (*stop != '\r') {
        return refuse(out_refusal, value_refusal(*stop));
    }
    if (stop + 1 == end) {
        return 0;
    }
    if (stop[1] != '\n') {
        return refuse(out_refusal, HTTP_REFUSED_BARE_CR);
    }
    const uint8_t *value_end = stop;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t')) {
        value_end--;
    }
    add_header(fields, str_make(line, (size_t)(colon - line)),
               str_make(value, (size_t)(value_end - value)));
    return stop + 2 - line;
}

static void clear(struct http_fields *fields)
{
    fields->count = 0;
    fields->repeated = 0;
    memset(fields->first, 0, sizeof(fields->first));
}

ssize_t http_fields_parse(struct http_fields *out_fields, const struct http_limits *limits,
                          const uint8_t *data, size_t len, enum http_refusal *out_refusal)
{
    const uint8_t *line = data;
    const uint8_t *end = data + len;
    size_t max = limits->headers < HTTP_HEADERS_MAX ? limits->headers : HTTP_HEADERS_MAX;
    clear(out_fields);
    while (line < end && *line != '\r') {
        if (out_fields->count == max) {
            return refuse(out_refusal, HTTP_REFUSED_TOO_MANY_HEADERS);
        }
        ssize_t used = parse_line(out_fields, limits->line_bytes, line, end, out_refusal);
        if (used <= 0) {
            return used;
        }
        line += used;
    }
    if (end - line < 2) {
        return 0;
    }
    if (line[1] != '\n') {
        return refuse(out_refusal, HTTP_REFUSED_BARE_CR);
    }
    return line + 2 - data;
}

struct str http_fields_find(const struct http_fields *fields, struct str name)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        if (str_equal_nocase(fields->headers[i].name, name)) {
            return fields->headers[i].value;
        }
    }
    return (struct str){NULL, 0};
}

size_t http_fields_count(const struct http_fields *fields, struct str name)
{
    size_t count = 0;
    for (uint32_t i = 0; i < fields->count; i++) {
        count += str_equal_nocase(fields->headers[i].name, name);
    }
    return count;
}

static bool next_line(const struct http_fields *fields, enum http_field field,
                      struct http_list *list)
{
    while (list->next_header < fields->count) {
        const struct http_header *header = &fields->headers[list->next_header++];
        if (header->field == field) {
            list->rest = header->value;
            return true;
        }
    }
    return false;
}

bool http_fields_next_item(const struct http_fields *fields, enum http_field field,
                           struct http_list *list, struct str *out_item)
{
    for (;;) {
        struct str item;
        if (str_split(&list->rest, ',', &item)) {
            item = str_trim(item);
            if (item.len > 0) {
                *out_item = item;
                return true;
            }
        } else if (!next_line(fields, field, list)) {
            return false;
        }
    }
}

bool http_fields_list_has(const struct http_fields *fields, enum http_field field, struct str token)
{
    if (!http_fields_has(fields, field)) {
        return false;
    }
    struct http_list list = {0};
    struct str item;
    while (http_fields_next_item(fields, field, &list, &item)) {
        if (str_equal_nocase(item, token)) {
            return true;
        }
    }
    return false;
}

bool http_is_token(struct str s)
{
    return s.len > 0 && http_token_len((const uint8_t *)s.ptr, s.len) == s.len;
}

size_t http_token_len(const uint8_t *data, size_t len)
{
    return (size_t)(skip_token(data, data + len) - data);
}
