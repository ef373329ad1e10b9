/* The bodies of OTLP/HTTP requests in its JSON encoding (opentelemetry-proto 1.x, "OTLP/HTTP",
 * JSON Protobuf Encoding): enums are numbers, 64-bit integers texts, trace and span ids hex. */
#ifndef TIDEGATE_API_OTLP_JSON_H
#define TIDEGATE_API_OTLP_JSON_H

#include <stdint.h>

#include "base/buf.h"

struct span;

/* Whom all is from. */
struct otlp_source {
    const char *node;    /* service.instance.id */
    const char *cluster; /* service.namespace */
    uint64_t started_us; /* wall clock: cumulative values count from here */
};

/* Appends an ExportMetricsServiceRequest of every series as it is now: counters are cumulative,
 * monotonic sums; names are those of /metrics. 0 or the buffer's error. */
int otlp_write_metrics(struct buf *out, const struct otlp_source *source, uint64_t now_us);

/* Appends an ExportTraceServiceRequest of the spans, a list. 0 or the buffer's error. */
int otlp_write_spans(struct buf *out, const struct otlp_source *source, const struct span *spans);

/* The texts of the answer's partialSuccess: how many points or spans were refused; 0 for none, and
 * for an answer that says nothing. */
uint64_t otlp_read_rejected(struct str body);

#endif
