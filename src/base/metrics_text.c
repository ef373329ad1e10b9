/* The Prometheus text format of what metrics_visit shows. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/metrics.h"

struct page {
    struct buf *out;
    const struct metric_family *family; /* of the last sample; custom families may share a name */
};

static void write_head(struct buf *out, const struct metric_family *family)
{
    buf_printf(out, "# HELP %s ", family->name);
    for (const char *at = family->help; *at; at++) {
        if (*at == '\\' || *at == '\n') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, *at == '\n' ? 'n' : *at);
    }
    buf_printf(out, "\n# TYPE %s %s\n", family->name, metric_kind_name(family->kind));
}

static void write_name(struct buf *out, const struct metric_sample *sample, const char *suffix)
{
    buf_append_str(out, str_of(sample->family->name));
    buf_append_str(out, str_of(suffix));
    if (sample->labels[0]) {
        buf_printf(out, "{%s}", sample->labels);
    }
    buf_append_char(out, ' ');
}

static void write_double(struct buf *out, double value)
{
    if (isnan(value)) {
        buf_append_str(out, STR("NaN"));
    } else if (isinf(value)) {
        buf_append_str(out, value < 0 ? STR("-Inf") : STR("+Inf"));
    } else {
        buf_append_double(out, value);
    }
}

static void write_single(struct buf *out, const struct metric_sample *sample)
{
    write_name(out, sample, "");
    write_double(out, sample->value);
    buf_append_char(out, '\n');
}

/* Of the built-in bounds: as people write it, without an exponent, to nine places. */
static void write_bound(struct buf *out, const struct metric_sample *sample, double bound)
{
    if (sample->family->is_real) {
        write_double(out, bound);
        return;
    }
    char text[64];
    int len = snprintf(text, sizeof(text), "%.9f", bound);
    while (text[len - 1] == '0') {
        len--;
    }
    buf_append(out, text, (size_t)(text[len - 1] == '.' ? len - 1 : len));
}

static void write_histogram(struct buf *out, const struct metric_sample *sample)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= sample->bound_count; i++) {
        count += sample->buckets[i];
        buf_printf(out, "%s_bucket{%s%sle=\"", sample->family->name, sample->labels,
                   sample->labels[0] ? "," : "");
        if (i < sample->bound_count) {
            write_bound(out, sample, sample->bounds[i]);
        } else {
            buf_append_str(out, STR("+Inf"));
        }
        buf_printf(out, "\"} %llu\n", (unsigned long long)count);
    }
    write_name(out, sample, "_sum");
    if (sample->family->is_real) {
        write_double(out, sample->sum);
        buf_append_char(out, '\n');
    } else {
        buf_printf(out, "%.6f\n", sample->sum);
    }
    write_name(out, sample, "_count");
    buf_printf(out, "%llu\n", (unsigned long long)count);
}

static void write_sample(void *arg, const struct metric_sample *sample)
{
    struct page *page = arg;
    if (!page->family || strcmp(page->family->name, sample->family->name) != 0) {
        write_head(page->out, sample->family);
    }
    page->family = sample->family;
    if (sample->family->kind == METRIC_HISTOGRAM) {
        write_histogram(page->out, sample);
    } else {
        write_single(page->out, sample);
    }
}

int metrics_render(struct buf *out)
{
    struct page page = {.out = out};
    metrics_visit(write_sample, &page);
    return buf_err(out);
}
