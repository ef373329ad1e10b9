/* The kinds of text that a configuration holds: what each may look like, and how to say so. Pure
 * but for config_text_engine, which asks the bus layer. */
#ifndef TIDEGATE_APP_CONFIG_TEXT_H
#define TIDEGATE_APP_CONFIG_TEXT_H

#include <stdbool.h>

#include "base/str.h"

struct config_text {
    const char *expected; /* completes "expected …" */
    bool (*is_valid)(struct str text);
    const char *(*names)(void); /* follow behind it; may be NULL */
};

extern const struct config_text config_text_any;     /* no control bytes, up to 1024 bytes */
extern const struct config_text config_text_filled;  /* the same, and not empty */
extern const struct config_text config_text_name;    /* apps, clusters, secrets: "shop-eu" */
extern const struct config_text config_text_node;    /* a name, or "" for the host's */
extern const struct config_text config_text_label;   /* for people: any, but not empty */
extern const struct config_text config_text_address; /* "127.0.0.1:8080", "" */
extern const struct config_text config_text_prefix;  /* "10.0.0.0/8" */
extern const struct config_text config_text_file;    /* the name of one, or "" */
extern const struct config_text config_text_audit;   /* "/var/log/tidegate/audit.log" */
extern const struct config_text config_text_token;   /* RFC 9110 5.6.2: names of headers, cookies */
extern const struct config_text config_text_origin;  /* "https://www.example.com", "*" */
extern const struct config_text config_text_pattern; /* "room:*" */
extern const struct config_text config_text_url;     /* https, or http on loopback */
extern const struct config_text config_text_web;     /* https or http, anywhere */
extern const struct config_text config_text_metric;  /* Prometheus' names, cut short */
extern const struct config_text config_text_metric_label;
extern const struct config_text config_text_pointer; /* "/order/total" */
extern const struct config_text config_text_base;    /* the same without a query, or "" */
extern const struct config_text config_text_service; /* "statsd.example.com:8125", "" */
extern const struct config_text config_text_statsd;  /* what may begin a name of StatsD */
extern const struct config_text config_text_engine;  /* the bus engines that are built in */

/* An address of this machine alone, or none. text is a valid address or empty. */
bool config_address_is_local(struct str text);

#endif
