/* The configuration: from a YAML file and the environment to struct settings. */
#ifndef TIDEGATE_APP_CONFIG_H
#define TIDEGATE_APP_CONFIG_H

#include "app/config_report.h"
#include "base/buf.h"
#include "core/settings.h"

/* Reads the file at path (NULL: none, the defaults), then the process's TIDEGATE_ variables over
 * it, then checks what must hold between them. Files that it names start at its folder.
 *
 * 0 and *out_settings with one reference; ERR_SYNTAX: mistakes; ERR_NO_MEMORY; -errno: the file
 * can't be read. What there is to say is appended to remarks, one line each: mistakes when it
 * failed (up to 20), and warnings also when it didn't. */
int config_load(struct settings **out_settings, const char *path, struct buf *remarks);

/* The same with the parts apart. config_load_report fills a report that the caller has initialised;
 * config_parse takes the text and environment from the caller too, report->file being the name. */
int config_load_report(struct settings **out_settings, const char *path,
                       struct config_report *report);
int config_parse(struct settings **out_settings, struct str yaml, char *const *env,
                 struct config_report *report);

/* For a reload: appends the keys, joined with ", ", whose values differ but which only a restart
 * can apply. Nothing appended: the new settings may be used at once. */
void config_reload_diff(const struct settings *old_settings, const struct settings *new_settings,
                        struct buf *needs_restart);

#endif
