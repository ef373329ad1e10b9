/* The part of the schema that is about who is told of the metrics. */
#include "app/config_export.h"
#include "app/config_schema.h"

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define COUNT(structure, field) .count_offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

static const struct config_key header_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_header, name), .required = true,
     .text = &config_text_token, .help = "Of the header.", .example = "Authorization"},
    {"file", CONFIG_CUSTOM, .read = config_header_file_read,
     .help = "A file with its value; one line end at its end doesn't count.",
     .example = "secrets/otlp"},
    {"value", CONFIG_CUSTOM, .read = config_header_value_read,
     .help = "The value itself. For what is no secret; file is safer.", .example = "tenant-7"},
};
static const struct config_map header_map = {.keys = header_keys,
                                             .key_count = LENGTH(header_keys),
                                             .size = sizeof(struct settings_header),
                                             .finish = config_header_finish};

static const struct config_key otlp_keys[] = {
    {"url", CONFIG_TEXT, FIELD(settings_otlp, url), .text = &config_text_base,
     .help = "Of an OpenTelemetry collector, or whoever takes OTLP over HTTP; /v1/metrics and "
             "/v1/traces are put behind it. \"\": off."},
    {"interval", CONFIG_TIME, FIELD(settings_otlp, interval_ms), .min = 1 * SECOND, .max = 1 * HOUR,
     .help = "How often metrics are sent."},
    {"timeout", CONFIG_TIME, FIELD(settings_otlp, timeout_ms), .min = 100, .max = 5 * MINUTE,
     .help = "For one request, name look-up included."},
    {"headers", CONFIG_MAPS, FIELD(settings_otlp, headers), COUNT(settings_otlp, header_count),
     .max = 16, .map = &header_map, .help = "Sent with each request, for a key or a tenant."},
    {"ca", CONFIG_CUSTOM, FIELD(settings_otlp, ca), .read = config_otlp_ca_read,
     .help = "A file in PEM with the authorities that the collector's certificate may come from, "
             "in place of the system's.",
     .example = "certs/collector-ca.pem"},
    {"gzip", CONFIG_BOOL, FIELD(settings_otlp, gzip), .help = "Compress what is sent."},
    {"metrics", CONFIG_BOOL, FIELD(settings_otlp, metrics), .help = "Send metrics."},
    {"traces", CONFIG_BOOL, FIELD(settings_otlp, traces),
     .help = "Send spans of pushes whose trace is sampled."},
    {"span_queue", CONFIG_COUNT, FIELD(settings_otlp, span_queue), .min = 64, .max = 1000000,
     .help = "Spans that wait for the collector, or are on their way. Over it they are dropped and "
             "counted."},
    {"max_traces", CONFIG_COUNT, FIELD(settings_otlp, max_traces), .min = 0, .max = 1000000,
     .help = "Of how many pushes a second a node sends spans, and of how many deliveries. Callers "
             "decide what is sampled; this bounds what it costs. 0: no limit."},
};
static const struct config_map otlp_map = {.keys = otlp_keys,
                                           .key_count = LENGTH(otlp_keys),
                                           .size = sizeof(struct settings_otlp),
                                           .finish = config_otlp_finish};

static const char *const tags[] = {"none", "dogstatsd", NULL};

static const struct config_key statsd_keys[] = {
    {"address", CONFIG_TEXT, FIELD(settings_statsd, address), .text = &config_text_service,
     .help = "Where a StatsD server listens (UDP). \"\": off."},
    {"interval", CONFIG_TIME, FIELD(settings_statsd, interval_ms), .min = 1 * SECOND,
     .max = 1 * HOUR, .help = "How often. The server's own flush interval fits best."},
    {"prefix", CONFIG_TEXT, FIELD(settings_statsd, prefix), .text = &config_text_statsd,
     .help = "In front of each name, such as \"prod.\"."},
    {"tags", CONFIG_CHOICE, FIELD(settings_statsd, tags), .choices = tags,
     .help = "How node and labels are told: none, as parts of the name (.node.n1.app.shop); "
             "dogstatsd, as tags (|#node:n1,app:shop)."},
};
static const struct config_map statsd_map = {
    .keys = statsd_keys, .key_count = LENGTH(statsd_keys), .size = sizeof(struct settings_statsd)};

static const struct config_key export_keys[] = {
    {"otlp", CONFIG_MAP, FIELD(settings_export, otlp), .map = &otlp_map, .help = "OpenTelemetry."},
    {"statsd", CONFIG_MAP, FIELD(settings_export, statsd), .map = &statsd_map, .help = "StatsD."},
};
const struct config_map config_schema_export = {
    .keys = export_keys, .key_count = LENGTH(export_keys), .size = sizeof(struct settings_export)};
