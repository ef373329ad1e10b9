/* The alert rules (alert_rules.h) written for others: Prometheus, people, programs. All append;
 * check buf_err() once at the end. */
#ifndef TIDEGATE_API_ALERT_TEXT_H
#define TIDEGATE_API_ALERT_TEXT_H

#include "api/alert_rules.h"

/* In PromQL: `sum without (route) (rate(a[5m])) / … > 0.01`. */
void alert_write_expression(struct buf *out, const struct alert_rule *rule);

/* A rules file of Prometheus (2.26 and later). runbooks: where the pages are, see
 * alert_write_runbook. */
void alert_write_prometheus(struct buf *out, const struct alert_rule *rules, size_t count,
                            struct str runbooks);

/* The table of docs/how-to/monitoring.md. */
void alert_write_markdown(struct buf *out, const struct alert_rule *rules, size_t count);

/* {"name":…,"severity":…,"for_ms":…,"expression":…,"summary":…,"detail":…,"runbook":…,"external":…
 * without the brace at its end. */
void alert_write_json(struct buf *out, const struct alert_rule *rule, struct str runbooks);

/* A time as both Prometheus and our configuration write it: "30s", "5m", "1h", "150ms". */
void alert_write_time(struct buf *out, uint64_t ms);

/* The shortest text that reads back as the number; for JSON "null" where it is none. */
void alert_write_number(struct buf *out, double number);
void alert_write_json_number(struct buf *out, double number);

#endif
