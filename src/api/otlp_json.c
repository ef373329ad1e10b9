#include "api/otlp_json.h"

#include <math.h>
#include <string.h>

#include "api/export_sample.h"
#include "base/metrics.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "server/span.h"

enum { CUMULATIVE = 2, STATUS_ERROR = 2, ANSWER_DEPTH = 16 };

/* ---- common parts ---- */

/* A 64-bit integer is a text in proto3's JSON. */
static void write_int(struct buf *out, struct str name, uint64_t value)
{
    json_write_key(out, name);
    buf_append_char(out, '"');
    buf_append_u64(out, value);
    buf_append_char(out, '"');
}

static void write_nanos(struct buf *out, struct str name, uint64_t us)
{
    write_int(out, name, us * 1000);
}

static void begin_attribute(struct buf *out, struct str key)
{
    json_write_comma(out);
    buf_append_char(out, '{');
    json_write_string_field(out, STR("key"), key);
    json_write_key(out, STR("value"));
    buf_append_char(out, '{');
}

static void write_text_attribute(struct buf *out, struct str key, struct str text)
{
    begin_attribute(out, key);
    json_write_string_field(out, STR("stringValue"), text);
    buf_append_str(out, STR("}}"));
}

static void write_number_attribute(struct buf *out, struct str key, int64_t number)
{
    begin_attribute(out, key);
    json_write_key(out, STR("intValue"));
    buf_printf(out, "\"%lld\"}}", (long long)number);
}

static void begin_list(struct buf *out, struct str name)
{
    json_write_key(out, name);
    buf_append_char(out, '[');
}

/* Up to the list of metrics or spans. */
static void begin_request(struct buf *out, const struct otlp_source *source, const char *resources,
                          const char *scopes, const char *list)
{
    buf_append_char(out, '{');
    begin_list(out, str_of(resources));
    buf_append_str(out, STR("{\"resource\":{\"attributes\":["));
    write_text_attribute(out, STR("service.name"), STR("tidegate"));
    write_text_attribute(out, STR("service.namespace"), str_of(source->cluster));
    write_text_attribute(out, STR("service.instance.id"), str_of(source->node));
    write_text_attribute(out, STR("service.version"), STR(TIDEGATE_VERSION));
    buf_append_str(out, STR("]}"));
    begin_list(out, str_of(scopes));
    buf_append_str(out,
                   STR("{\"scope\":{\"name\":\"tidegate\",\"version\":\"" TIDEGATE_VERSION "\"}"));
    begin_list(out, str_of(list));
}

static int end_request(struct buf *out)
{
    buf_append_str(out, STR("]}]}]}"));
    return buf_err(out);
}

/* ---- metrics ---- */

struct writer {
    struct buf *out;
    const struct otlp_source *source;
    const struct metric_family *family; /* whose list of points is open */
    uint64_t now_us;
    struct buf value; /* of the label in hand */
};

static void end_family(struct writer *writer)
{
    if (!writer->family) {
        return;
    }
    buf_append_char(writer->out, ']');
    if (writer->family->kind != METRIC_GAUGE) {
        json_write_u64_field(writer->out, STR("aggregationTemporality"), CUMULATIVE);
    }
    if (writer->family->kind == METRIC_COUNTER) {
        json_write_bool_field(writer->out, STR("isMonotonic"), true);
    }
    buf_append_str(writer->out, STR("}}"));
}

static void begin_family(struct writer *writer, const struct metric_family *family)
{
    static const char *const kinds[] = {
        [METRIC_COUNTER] = "sum", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    struct buf *out = writer->out;
    struct str unit = sample_unit(family->name);
    writer->family = family;
    json_write_comma(out);
    buf_append_char(out, '{');
    json_write_string_field(out, STR("name"), str_of(family->name));
    json_write_string_field(out, STR("description"), str_of(family->help));
    if (unit.len) {
        json_write_string_field(out, STR("unit"), unit);
    }
    json_write_key(out, str_of(kinds[family->kind]));
    buf_append_char(out, '{');
    begin_list(out, STR("dataPoints"));
}

static void write_labels(struct writer *writer, const char *labels)
{
    struct str rest = str_of(labels);
    struct str name;
    begin_list(writer->out, STR("attributes"));
    while (sample_next_label(&rest, &name, &writer->value)) {
        write_text_attribute(writer->out, name, buf_str(&writer->value));
    }
    buf_append_char(writer->out, ']');
}

static void write_numbers(struct buf *out, const struct metric_sample *sample)
{
    begin_list(out, STR("bucketCounts"));
    for (size_t i = 0; i <= sample->bound_count; i++) {
        json_write_comma(out);
        buf_printf(out, "\"%llu\"", (unsigned long long)sample->buckets[i]);
    }
    buf_append_char(out, ']');
    begin_list(out, STR("explicitBounds"));
    for (size_t i = 0; i < sample->bound_count; i++) {
        json_write_comma(out);
        buf_append_double(out, sample->bounds[i]);
    }
    buf_append_char(out, ']');
}

static void write_histogram(struct buf *out, const struct metric_sample *sample)
{
    write_int(out, STR("count"), (uint64_t)sample->value);
    if (isfinite(sample->sum)) { /* which JSON can say, and a point may go without */
        json_write_key(out, STR("sum"));
        buf_append_double(out, sample->sum);
    }
    write_numbers(out, sample);
}

static void write_point(struct writer *writer, const struct metric_sample *sample)
{
    struct buf *out = writer->out;
    json_write_comma(out);
    buf_append_char(out, '{');
    write_labels(writer, sample->labels);
    if (sample->family->kind != METRIC_GAUGE) {
        write_nanos(out, STR("startTimeUnixNano"), writer->source->started_us);
    }
    write_nanos(out, STR("timeUnixNano"), writer->now_us);
    if (sample->family->kind == METRIC_HISTOGRAM) {
        write_histogram(out, sample);
    } else {
        json_write_key(out, STR("asDouble"));
        buf_append_double(out, sample->value);
    }
    buf_append_char(out, '}');
}

/* A gauge that has nothing to say is NaN, for which JSON has no word. */
static void write_sample(void *arg, const struct metric_sample *sample)
{
    struct writer *writer = arg;
    if (!isfinite(sample->value)) {
        return;
    }
    /* Apps may have families of one name, which agree in their kind. */
    if (!writer->family || strcmp(writer->family->name, sample->family->name) != 0) {
        end_family(writer);
        begin_family(writer, sample->family);
    }
    write_point(writer, sample);
}

int otlp_write_metrics(struct buf *out, const struct otlp_source *source, uint64_t now_us)
{
    /* The wall clock may have been set back; no point lies before its start. */
    struct writer writer = {.out = out,
                            .source = source,
                            .now_us = now_us > source->started_us ? now_us : source->started_us};
    begin_request(out, source, "resourceMetrics", "scopeMetrics", "metrics");
    metrics_visit(write_sample, &writer);
    end_family(&writer);
    if (buf_err(&writer.value)) {
        out->err = out->err ? out->err : buf_err(&writer.value);
    }
    buf_fini(&writer.value);
    return end_request(out);
}

/* ---- spans ---- */

static void write_hex(struct buf *out, struct str name, const uint8_t *bytes, size_t len)
{
    char text[2 * TRACE_ID_LEN];
    hex_encode(text, bytes, len);
    json_write_string_field(out, name, str_make(text, 2 * len));
}

static void write_attributes(struct buf *out, const struct span *span)
{
    begin_list(out, STR("attributes"));
    for (uint32_t i = 0; i < span->attribute_count; i++) {
        const struct span_attribute *attribute = &span->attributes[i];
        if (attribute->text.ptr) {
            write_text_attribute(out, str_of(attribute->key), attribute->text);
        } else {
            write_number_attribute(out, str_of(attribute->key), attribute->number);
        }
    }
    buf_append_char(out, ']');
}

static void write_status(struct buf *out, const char *error)
{
    if (error) {
        json_write_key(out, STR("status"));
        buf_append_char(out, '{');
        json_write_u64_field(out, STR("code"), STATUS_ERROR);
        json_write_string_field(out, STR("message"), str_of(error));
        buf_append_char(out, '}');
    }
}

static void write_span(struct buf *out, const struct span *span)
{
    json_write_comma(out);
    buf_append_char(out, '{');
    write_hex(out, STR("traceId"), span->context.trace_id, TRACE_ID_LEN);
    write_hex(out, STR("spanId"), span->context.span_id, TRACE_SPAN_ID_LEN);
    write_hex(out, STR("parentSpanId"), span->parent, TRACE_SPAN_ID_LEN);
    if (span->state.len) {
        json_write_string_field(out, STR("traceState"), span->state);
    }
    json_write_u64_field(out, STR("flags"), span->context.flags);
    json_write_string_field(out, STR("name"), str_of(span->name));
    json_write_u64_field(out, STR("kind"), span->kind);
    write_nanos(out, STR("startTimeUnixNano"), span->start_us);
    write_nanos(out, STR("endTimeUnixNano"), span->end_us);
    write_attributes(out, span);
    write_status(out, span->error);
    buf_append_char(out, '}');
}

int otlp_write_spans(struct buf *out, const struct otlp_source *source, const struct span *spans)
{
    begin_request(out, source, "resourceSpans", "scopeSpans", "spans");
    for (; spans; spans = spans->next) {
        write_span(out, spans);
    }
    return end_request(out);
}

/* ---- answers ---- */

/* As a text or as a number. */
static uint64_t read_count(struct json_value partial, struct str name)
{
    struct json_value value;
    struct str text;
    uint64_t count = 0;
    if (json_get(partial, name, &value) && !json_u64(value, UINT64_MAX, &count) &&
        json_string_plain(value, &text)) {
        str_to_u64(text, UINT64_MAX, &count);
    }
    return count;
}

uint64_t otlp_read_rejected(struct str body)
{
    struct json_value answer;
    struct json_value partial;
    if (json_parse(&answer, body, ANSWER_DEPTH, NULL) || answer.type != JSON_TYPE_OBJECT ||
        !json_get(answer, STR("partialSuccess"), &partial) || partial.type != JSON_TYPE_OBJECT) {
        return 0;
    }
    return read_count(partial, STR("rejectedDataPoints")) +
           read_count(partial, STR("rejectedSpans"));
}
