#include "app/config_units.h"

#include "base/err.h"
#include "proto/json.h"

struct unit {
    struct str name;
    uint64_t factor;
};

/* The largest first: formatting takes the first that divides. */
static const struct unit byte_units[] = {
    {STR("TiB"), (uint64_t)1 << 40}, {STR("GiB"), 1 << 30}, {STR("MiB"), 1 << 20},
    {STR("KiB"), 1 << 10},           {STR("B"), 1},         {STR(""), 1},
};

static const struct unit time_units[] = {
    {STR("d"), 86400000}, {STR("h"), 3600000}, {STR("m"), 60000}, {STR("s"), 1000}, {STR("ms"), 1},
};

enum {
    BYTE_UNITS = sizeof(byte_units) / sizeof(byte_units[0]),
    TIME_UNITS = sizeof(time_units) / sizeof(time_units[0]),
};

static struct str digits_of(struct str text)
{
    size_t len = 0;
    while (len < text.len && text.ptr[len] >= '0' && text.ptr[len] <= '9') {
        len++;
    }
    return str_make(text.ptr, len);
}

int config_count_parse(struct str text, uint64_t *out_value)
{
    if (text.len == 0 || digits_of(text).len != text.len) {
        return ERR_SYNTAX;
    }
    return str_to_u64(text, INT64_MAX, out_value) ? 0 : ERR_TOO_LARGE;
}

static int with_unit(struct str text, const struct unit *units, int count, uint64_t *out_value)
{
    struct str digits = digits_of(text);
    struct str name = str_make(text.ptr + digits.len, text.len - digits.len);
    for (int i = 0; i < count; i++) {
        if (str_equal(name, units[i].name)) {
            uint64_t number;
            int err = config_count_parse(digits, &number);
            if (!err && number > INT64_MAX / units[i].factor) {
                err = ERR_TOO_LARGE;
            }
            if (!err) {
                *out_value = number * units[i].factor;
            }
            return err;
        }
    }
    return ERR_SYNTAX;
}

int config_bytes_parse(struct str text, uint64_t *out_bytes)
{
    return with_unit(text, byte_units, BYTE_UNITS, out_bytes);
}

int config_time_parse(struct str text, uint64_t *out_ms)
{
    if (str_equal(text, STR("0"))) {
        *out_ms = 0;
        return 0;
    }
    return with_unit(text, time_units, TIME_UNITS, out_ms);
}

static void format(uint64_t value, const struct unit *units, struct buf *out)
{
    if (value == 0) {
        buf_append_char(out, '0');
        return;
    }
    while (value % units->factor != 0) {
        units++;
    }
    buf_append_u64(out, value / units->factor);
    buf_append_str(out, units->name);
}

void config_bytes_format(uint64_t bytes, struct buf *out)
{
    format(bytes, byte_units, out);
}

void config_time_format(uint64_t ms, struct buf *out)
{
    format(ms, time_units, out);
}

/* JSON's grammar for numbers is what people write. */
int config_real_parse(struct str text, double *out_value)
{
    struct json_value value;
    return json_parse(&value, text, 0, NULL) == 0 && value.raw.len == text.len &&
                   json_double(value, out_value)
               ? 0
               : ERR_SYNTAX;
}
