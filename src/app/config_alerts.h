/* How the built-in alerter's receivers, labels and rules are read, and what must hold in each. The
 * shapes are those of config_material.h. */
#ifndef TIDEGATE_APP_CONFIG_ALERTS_H
#define TIDEGATE_APP_CONFIG_ALERTS_H

#include "app/config_material.h"

/* object: struct settings_receiver */
config_read_fn config_receiver_file_read;
config_read_fn config_receiver_secret_read;
config_finish_fn config_receiver_finish;

/* object: struct settings_label */
config_finish_fn config_label_finish;

/* object: struct settings_alert_rule */
config_read_fn config_alert_name_read;
config_read_fn config_alert_threshold_read;
config_finish_fn config_alert_rule_finish;

/* object: struct settings_alerts */
config_finish_fn config_alerts_finish;

#endif
