/* The configuration's `tls` section: certificates with their keys, and who may sign clients'. The
 * shapes are those of config_key.read and config_map.finish. */
#ifndef TIDEGATE_APP_CONFIG_TLS_H
#define TIDEGATE_APP_CONFIG_TLS_H

#include "app/config_material.h"

/* object: struct settings_certificate. Files are read at once; a mistake never quotes a key. */
config_read_fn config_tls_certificate_read;
config_read_fn config_tls_key_read;
config_finish_fn
    config_tls_certificate_finish; /* they belong together; warns of an end that is near */

/* object: struct settings_tls */
config_read_fn config_tls_client_ca_read;
config_finish_fn config_tls_finish;

#endif
