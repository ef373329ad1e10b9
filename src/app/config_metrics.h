/* What must hold among the metrics that apps define. */
#ifndef TIDEGATE_APP_CONFIG_METRICS_H
#define TIDEGATE_APP_CONFIG_METRICS_H

struct config_reader;
struct config_tree;

/* After everything was read: no name twice in an app, apps that share one agree on what it is, and
 * all of them together are within limits.custom_series. */
void config_metrics_check(struct config_reader *reader, const struct config_tree *tree);

#endif
