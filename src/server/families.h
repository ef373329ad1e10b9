/* The catalogue: every metric family of the gateway, each declared once, in families.def. What
 * counts makes its series from there, docs/metrics.md is printed from there, and `tidegate metrics`
 * shows it.
 *
 * An entry of families.def, in the order of the page:
 *
 *     SECTION("Messages")                                a heading
 *     TEXT("Markdown.")                                  a paragraph
 *     COUNTER(gaps_total, ("app"),                       tidegate_gaps_total
 *         "Losses announced to sessions by gap.",        HELP: one short sentence, no markup
 *         "`reason`: `expired`, …")                      behind it on the page: Markdown, if need
 * be
 *
 * GAUGE and HISTOGRAM (of seconds) are the same, and SIZES, a histogram of whole numbers; PROCESS
 * is one whose name others gave it, without tidegate_; BASE names a family that base declares
 * itself. Name label values in the text; they are never what a peer can choose. */
#ifndef TIDEGATE_SERVER_FAMILIES_H
#define TIDEGATE_SERVER_FAMILIES_H

#include "base/metrics.h"

enum family {
#define TEXT(text)
#define SECTION(title)
#define COUNTER(name, ...) FAMILY_##name,
#define GAUGE(name, ...) FAMILY_##name,
#define HISTOGRAM(name, ...) FAMILY_##name,
#define SIZES(name, ...) FAMILY_##name,
#define PROCESS(kind, name, ...) FAMILY_##name,
#define BASE(name)
#include "server/families.def"
#undef TEXT
#undef SECTION
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
#undef SIZES
#undef PROCESS
#undef BASE
    FAMILIES
};

extern const struct metric_family families[FAMILIES];

/* FAMILY(gaps_total) is the family, SERIES(gaps_total, app) its series with these label values. */
#define FAMILY(name) (&families[FAMILY_##name])
#define SERIES(name, ...) metric_series(FAMILY(name), ##__VA_ARGS__)

/* The heading under which metrics that apps define are told of. */
#define FAMILIES_CUSTOM_SECTION "Metrics of your own"

/* Every family that this binary can expose, with its section's heading, in the page's order. */
void families_visit(void (*visit)(void *arg, const char *section,
                                  const struct metric_family *family),
                    void *arg);

/* Appends docs/metrics.md. */
void families_write_markdown(struct buf *out);

#endif
