#include "proto/rocketmq_route.h"

#include "base/err.h"
#include "proto/json.h"

enum { ROUTE_DEPTH = 8, HOST_MAX = 255 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* From an opening quote to behind the closing one, or to the end. */
static size_t string_len(struct str text)
{
    size_t at = 1;
    while (at < text.len && text.ptr[at] != '"') {
        at += text.ptr[at] == '\\' ? 2 : 1;
    }
    return at < text.len ? at + 1 : text.len;
}

static size_t digits_len(struct str text)
{
    size_t len = 0;
    while (len < text.len && is_digit(text.ptr[len])) {
        len++;
    }
    return len;
}

/* The bytes of the string, number or single byte that stands at the front of text. */
static size_t token_len(struct str text)
{
    if (text.ptr[0] == '"') {
        return string_len(text);
    }
    return is_digit(text.ptr[0]) ? digits_len(text) : 1;
}

/* Whether the token of len bytes is a number with a colon behind it. */
static bool is_bare_key(struct str text, size_t len)
{
    size_t at = len;
    while (at < text.len && is_space(text.ptr[at])) {
        at++;
    }
    return is_digit(text.ptr[0]) && at < text.len && text.ptr[at] == ':';
}

int rocketmq_route_quote_keys(struct buf *out, struct str body)
{
    buf_clear(out);
    if (body.len > ROCKETMQ_ROUTE_MAX) {
        return ERR_TOO_LARGE;
    }
    while (body.len > 0) {
        size_t len = token_len(body);
        bool quote = is_bare_key(body, len);
        if (quote) {
            buf_append_char(out, '"');
        }
        buf_append(out, body.ptr, len);
        if (quote) {
            buf_append_char(out, '"');
        }
        body = str_make(body.ptr + len, body.len - len);
    }
    return buf_err(out);
}

static bool is_host(struct str host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (host.ptr[i] <= ' ' || host.ptr[i] >= 0x7f || strchr("[]/\"", host.ptr[i])) {
            return false;
        }
    }
    return host.len > 0 && host.len <= HOST_MAX;
}

static struct str without_brackets(struct str host)
{
    bool has_both = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    return has_both ? str_make(host.ptr + 1, host.len - 2) : host;
}

int rocketmq_address_parse(struct str text, struct str *out_host, uint16_t *out_port)
{
    size_t colon = text.len; /* the last one */
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return ERR_SYNTAX;
    }
    uint64_t port;
    struct str host = without_brackets(str_make(text.ptr, colon - 1));
    struct str digits = str_make(text.ptr + colon, text.len - colon);
    if (!str_to_u64(digits, UINT16_MAX, &port) || port == 0 || !is_host(host)) {
        return ERR_SYNTAX;
    }
    *out_host = host;
    *out_port = (uint16_t)port;
    return 0;
}

/* The master is the one with the id 0. */
static int find_master(struct rocketmq_route_broker *out_broker, struct json_value broker)
{
    struct json_value addresses, master;
    struct str text;
    if (!json_get(broker, STR("brokerAddrs"), &addresses) ||
        !json_get(addresses, STR("0"), &master)) {
        return ERR_NOT_FOUND;
    }
    return json_string_plain(master, &text) &&
                   !rocketmq_address_parse(text, &out_broker->host, &out_broker->port)
               ? 0
               : ERR_PROTOCOL;
}

/* The element of an array of objects that says brokerName: name. */
static bool find_by_name(struct json_value array, struct str name, struct json_value *out_element)
{
    struct json_iter iter;
    struct json_value element, said;
    json_iter_init(&iter, array);
    while (array.type == JSON_TYPE_ARRAY && json_next(&iter, NULL, &element)) {
        if (json_get(element, STR("brokerName"), &said) && json_equals(said, name)) {
            *out_element = element;
            return true;
        }
    }
    return false;
}

static bool get_u32(struct json_value object, struct str name, uint32_t *out_number)
{
    struct json_value value;
    uint64_t number;
    if (!json_get(object, name, &value) || !json_u64(value, UINT32_MAX, &number)) {
        return false;
    }
    *out_number = (uint32_t)number;
    return true;
}

static int read_queues(struct rocketmq_route_broker *out_broker, struct json_value route,
                       struct str name)
{
    struct json_value all, queues;
    if (!json_get(route, STR("queueDatas"), &all) || !find_by_name(all, name, &queues)) {
        return 0;
    }
    out_broker->has_topic = get_u32(queues, STR("readQueueNums"), &out_broker->read_queues) &&
                            get_u32(queues, STR("writeQueueNums"), &out_broker->write_queues) &&
                            get_u32(queues, STR("perm"), &out_broker->perm);
    return out_broker->has_topic ? 0 : ERR_PROTOCOL;
}

static int parse_object(struct json_value *out_object, struct str text)
{
    return json_parse(out_object, text, ROUTE_DEPTH, NULL) || out_object->type != JSON_TYPE_OBJECT
               ? ERR_PROTOCOL
               : 0;
}

int rocketmq_route_find(struct rocketmq_route_broker *out_broker, struct str route,
                        struct str broker_name)
{
    struct json_value object, brokers, broker;
    struct rocketmq_route_broker found = {0};
    int err = parse_object(&object, route);
    if (err) {
        return err;
    }
    if (!json_get(object, STR("brokerDatas"), &brokers) ||
        !find_by_name(brokers, broker_name, &broker)) {
        return ERR_NOT_FOUND;
    }
    err = find_master(&found, broker);
    if (!err) {
        err = read_queues(&found, object, broker_name);
    }
    if (!err) {
        *out_broker = found;
    }
    return err;
}

int rocketmq_route_find_in_cluster(struct rocketmq_route_broker *out_broker, struct str cluster,
                                   struct str broker_name)
{
    struct json_value object, brokers, broker;
    struct rocketmq_route_broker found = {0};
    int err = parse_object(&object, cluster);
    if (err) {
        return err;
    }
    if (!json_get(object, STR("brokerAddrTable"), &brokers) ||
        !json_get(brokers, broker_name, &broker)) {
        return ERR_NOT_FOUND;
    }
    err = find_master(&found, broker);
    if (!err) {
        *out_broker = found;
    }
    return err;
}
