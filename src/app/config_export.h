/* How the section `metrics` is read where the schema's types don't do. The shapes are those of
 * config_key.read and config_map.finish; a mistake never quotes a header's value. */
#ifndef TIDEGATE_APP_CONFIG_EXPORT_H
#define TIDEGATE_APP_CONFIG_EXPORT_H

#include "app/config_material.h"

/* object: struct settings_header */
config_read_fn config_header_file_read;
config_read_fn config_header_value_read;
config_finish_fn config_header_finish;

/* object: struct settings_otlp */
config_read_fn config_otlp_ca_read;
config_finish_fn config_otlp_finish;

#endif
