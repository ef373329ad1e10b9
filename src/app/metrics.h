/* `tidegate metrics`: what this binary can expose at /metrics, for operators and for scripts that
 * compare dashboards and alert rules with it. */
#ifndef TIDEGATE_APP_METRICS_H
#define TIDEGATE_APP_METRICS_H

/* argv[0] is the verb; returns an enum exit_code. */
int app_metrics_main(int argc, char **argv);

#endif
