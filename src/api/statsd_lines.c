#include "api/statsd_lines.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "api/export_sample.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/u64map.h"

enum { BUCKETS_MAX = 64, LINE_MAX_BYTES = 1024 };

/* Of a counter or histogram what was told last, and what the datagram in the making tells, which is
 * told once that has left. */
struct told {
    struct told *next; /* of which the datagram has lines, too */
    bool has_count, has_sum;
    double value, sum, new_value, new_sum;
    size_t bucket_count;
    uint64_t buckets[]; /* then as many that are new */
};

struct statsd_lines {
    char node[SETTINGS_NODE_MAX + 1];
    struct u64map told; /* by the series, which stays where it is: struct told *; owned */
    struct buf datagram, line, label;
    struct told *in_datagram;
    /* Of the round under way. */
    const struct settings_statsd *settings;
    statsd_emit_cb emit;
    void *owner;
    bool is_silent;
    int err;
};

int statsd_lines_create(struct statsd_lines **out_lines, const char *node)
{
    struct statsd_lines *lines = mem_zalloc(sizeof(*lines));
    if (!lines) {
        return ERR_NO_MEMORY;
    }
    snprintf(lines->node, sizeof(lines->node), "%s", node);
    *out_lines = lines;
    return 0;
}

void statsd_lines_destroy(struct statsd_lines *lines)
{
    if (!lines) {
        return;
    }
    struct u64map_entry *entry;
    for (size_t at = 0; (entry = u64map_next(&lines->told, &at));) {
        mem_free((void *)(uintptr_t)entry->value);
    }
    u64map_fini(&lines->told);
    buf_fini(&lines->datagram);
    buf_fini(&lines->line);
    buf_fini(&lines->label);
    mem_free(lines);
}

/* ---- names ---- */

/* What has a meaning in a line or in Graphite becomes "_". */
static void write_part(struct buf *out, struct str text, bool is_tag)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_plain = isalnum((unsigned char)c) || c == '_' || c == '-' ||
                        (is_tag && (c == '.' || c == '/' || (unsigned char)c >= 0x80));
        buf_append_char(out, is_plain ? c : '_');
    }
    if (text.len == 0) {
        buf_append_str(out, STR("none"));
    }
}

static void write_path(struct statsd_lines *lines, const char *labels)
{
    struct buf *out = &lines->line;
    struct str rest = str_of(labels);
    struct str name;
    buf_append_str(out, STR(".node."));
    write_part(out, str_of(lines->node), false);
    while (sample_next_label(&rest, &name, &lines->label)) {
        buf_append_char(out, '.');
        buf_append_str(out, name);
        buf_append_char(out, '.');
        write_part(out, buf_str(&lines->label), false);
    }
}

static void write_tags(struct statsd_lines *lines, const char *labels)
{
    struct buf *out = &lines->line;
    struct str rest = str_of(labels);
    struct str name;
    buf_append_str(out, STR("|#node:"));
    write_part(out, str_of(lines->node), true);
    while (sample_next_label(&rest, &name, &lines->label)) {
        buf_append_char(out, ',');
        buf_append_str(out, name);
        buf_append_char(out, ':');
        write_part(out, buf_str(&lines->label), true);
    }
}

/* Without an exponent, which not all servers read. */
static void write_number(struct buf *out, double value)
{
    char text[DBL_MAX_10_EXP + 16]; /* all digits of the largest, sign and fraction */
    int len = snprintf(text, sizeof(text), "%.*f", trunc(value) == value ? 0 : 9, value);
    while (memchr(text, '.', (size_t)len) && (text[len - 1] == '0' || text[len - 1] == '.')) {
        bool is_point = text[--len] == '.';
        if (is_point) {
            break;
        }
    }
    buf_append(out, text, (size_t)len);
}

/* ---- lines ---- */

static void take_count(struct told *told)
{
    told->value = told->new_value;
    for (size_t i = 0; i < told->bucket_count; i++) {
        told->buckets[i] = told->buckets[told->bucket_count + i];
    }
}

static void take_sum(struct told *told)
{
    told->sum = told->new_sum;
}

/* The datagram has left, or has not. */
static void settle(struct statsd_lines *lines, bool has_left)
{
    while (lines->in_datagram) {
        struct told *told = lines->in_datagram;
        if (has_left && told->has_count) {
            take_count(told);
        }
        if (has_left && told->has_sum) {
            take_sum(told);
        }
        told->has_count = told->has_sum = false;
        lines->in_datagram = told->next;
    }
}

static void note(struct statsd_lines *lines, struct told *told)
{
    if (!told->has_count && !told->has_sum) {
        told->next = lines->in_datagram;
        lines->in_datagram = told;
    }
}

static void flush(struct statsd_lines *lines)
{
    if (lines->datagram.len > 0) {
        bool is_whole = buf_err(&lines->datagram) == 0;
        settle(lines, is_whole && lines->emit(lines->owner, buf_str(&lines->datagram)));
    }
    buf_clear(&lines->datagram);
}

/* False: memory was out for it. */
static bool add_line(struct statsd_lines *lines)
{
    size_t len = lines->line.len;
    if (buf_err(&lines->line) || buf_err(&lines->label) || len > STATSD_DATAGRAM_MAX) {
        lines->err = ERR_NO_MEMORY;
        return false;
    }
    if (lines->datagram.len + 1 + len > STATSD_DATAGRAM_MAX) {
        flush(lines);
    }
    if (lines->datagram.len > 0) {
        buf_append_char(&lines->datagram, '\n');
    }
    buf_append_str(&lines->datagram, buf_str(&lines->line));
    lines->err = lines->err ? lines->err : buf_err(&lines->datagram);
    return true;
}

static void write_value(struct statsd_lines *lines, const struct metric_sample *sample,
                        const char *suffix, double value, char type)
{
    struct buf *out = &lines->line;
    bool has_tags = lines->settings->tags == SETTINGS_STATSD_DOGSTATSD;
    buf_append_str(out, lines->settings->prefix);
    buf_append_str(out, str_of(sample->family->name));
    buf_append_str(out, str_of(suffix));
    if (!has_tags) {
        write_path(lines, sample->labels);
    }
    buf_append_char(out, ':');
    write_number(out, value);
    buf_append_char(out, '|');
    buf_append_char(out, type);
    if (has_tags) {
        write_tags(lines, sample->labels);
    }
}

/* False: the datagram has no such line. */
static bool add_value(struct statsd_lines *lines, const struct metric_sample *sample,
                      const char *suffix, double value, char type)
{
    if (lines->is_silent || !isfinite(value)) {
        return false;
    }
    buf_clear(&lines->line);
    buf_clear(&lines->label);
    if (type == 'g' && value < 0) {
        write_value(lines, sample, suffix, 0, type);
        buf_append_char(&lines->line, '\n');
    }
    write_value(lines, sample, suffix, value, type);
    return add_line(lines);
}

/* ---- what was added ---- */

static struct told *told_of(struct statsd_lines *lines, const struct metric_sample *sample)
{
    size_t count = sample->buckets ? sample->bound_count + 1 : 0;
    uint64_t *place = u64map_put(&lines->told, (uint64_t)(uintptr_t)sample->labels);
    if (place && !*place) {
        struct told *made = mem_zalloc(sizeof(*made) + sizeof(made->buckets[0]) * 2 * count);
        *place = (uint64_t)(uintptr_t)made;
        if (made) {
            made->bucket_count = count;
        }
    }
    struct told *told = place ? (struct told *)(uintptr_t)*place : NULL;
    lines->err = told ? lines->err : ERR_NO_MEMORY;
    return told;
}

static void add_count(struct statsd_lines *lines, struct told *told,
                      const struct metric_sample *sample, const char *suffix, double added)
{
    if (lines->is_silent) {
        take_count(told);
    } else if (added > 0 && add_value(lines, sample, suffix, added, 'c')) {
        note(lines, told);
        told->has_count = true;
    }
}

static void add_sum(struct statsd_lines *lines, struct told *told,
                    const struct metric_sample *sample, double added)
{
    if (lines->is_silent) {
        take_sum(told);
    } else if (add_value(lines, sample, "_sum", added, 'c')) {
        note(lines, told);
        told->has_sum = true;
    }
}

static void add_counter(struct statsd_lines *lines, const struct metric_sample *sample)
{
    struct told *told = told_of(lines, sample);
    if (told) {
        double added = sample->value - told->value;
        told->new_value = sample->value;
        add_count(lines, told, sample, "", added);
    }
}

/* Where the part of the observations lies, as if they were spread evenly in their bucket; what is
 * above all bounds is said to be at the last. */
static double quantile(const struct metric_sample *sample, const uint64_t *added, double count,
                       double part)
{
    double rank = part * count;
    double before = 0;
    double low = 0;
    for (size_t i = 0; i < sample->bound_count; i++) {
        double high = sample->bounds[i];
        if (before + (double)added[i] >= rank && added[i] > 0) {
            return low + (high - low) * (rank - before) / (double)added[i];
        }
        before += (double)added[i];
        low = high;
    }
    return low;
}

static void add_histogram(struct statsd_lines *lines, const struct metric_sample *sample)
{
    struct told *told = told_of(lines, sample);
    uint64_t added[BUCKETS_MAX];
    if (!told || told->bucket_count > BUCKETS_MAX ||
        told->bucket_count != sample->bound_count + 1) {
        return;
    }
    double count = 0;
    for (size_t i = 0; i < told->bucket_count; i++) {
        added[i] = sample->buckets[i] - told->buckets[i];
        told->buckets[told->bucket_count + i] = sample->buckets[i];
        count += (double)added[i];
    }
    double sum = sample->sum - told->sum;
    told->new_sum = sample->sum;
    add_count(lines, told, sample, "_count", count);
    if (count > 0 || lines->is_silent) {
        add_sum(lines, told, sample, sum);
        add_value(lines, sample, "_p50", quantile(sample, added, count, 0.5), 'g');
        add_value(lines, sample, "_p90", quantile(sample, added, count, 0.9), 'g');
        add_value(lines, sample, "_p99", quantile(sample, added, count, 0.99), 'g');
    }
}

static void add_sample(void *arg, const struct metric_sample *sample)
{
    struct statsd_lines *lines = arg;
    if (!isfinite(sample->value)) {
        return;
    }
    switch (sample->family->kind) {
    case METRIC_COUNTER: add_counter(lines, sample); break;
    case METRIC_GAUGE: add_value(lines, sample, "", sample->value, 'g'); break;
    case METRIC_HISTOGRAM: add_histogram(lines, sample); break;
    }
}

void statsd_lines_begin(struct statsd_lines *lines)
{
    lines->is_silent = true;
    metrics_visit(add_sample, lines);
    lines->is_silent = false;
}

int statsd_lines_round(struct statsd_lines *lines, const struct settings_statsd *settings,
                       statsd_emit_cb emit, void *owner)
{
    lines->settings = settings;
    lines->emit = emit;
    lines->owner = owner;
    lines->err = 0;
    buf_clear(&lines->datagram);
    metrics_visit(add_sample, lines);
    flush(lines);
    return lines->err;
}
