/* What became of the configuration: the series of reloads. The main thread tells, any reads. */
#include "base/clock.h"
#include "server/stats.h"
#include "server/stats_private.h"

static struct {
    _Atomic double hash;
    _Atomic double loaded_s; /* Unix time of the last one that came into force */
    _Atomic double is_good;  /* the last attempt was */
} config;

static double read_value(void *arg)
{
    return *(const _Atomic double *)arg;
}

void stats_config_loaded(uint64_t hash)
{
    config.hash = (double)hash;
    config.loaded_s = (double)clock_wall_ms() / 1000;
    config.is_good = 1;
    metric_set_reader(SERIES(config_hash), read_value, &config.hash);
    metric_set_reader(SERIES(config_last_reload_success_timestamp_seconds), read_value,
                      &config.loaded_s);
    metric_set_reader(SERIES(config_last_reload_successful), read_value, &config.is_good);
}

void stats_config_reload(bool is_good)
{
    config.is_good = is_good;
    metric_add(SERIES(config_reloads_total, is_good ? "applied" : "refused"), 1);
}
