/* The command line of the load generator. */
#ifndef TIDEGATE_BENCH_LOAD_OPTIONS_H
#define TIDEGATE_BENCH_LOAD_OPTIONS_H

#include <stdint.h>
#include <sys/types.h>

#include "phase.h"
#include "procstat.h"
#include "ws_client.h"

enum { LOAD_PHASES_MAX = 32 };

struct load_options {
    struct ws_client_config sessions;
    uint32_t session_count;
    uint32_t warm;   /* sessions opened before the price of the others is taken */
    uint32_t window; /* handshakes at a time; 0: all at once */
    uint64_t settle_ms;
    struct bench_ports api_ports;
    char headers[512];             /* of every push */
    struct procstat_server server; /* whose CPU and memory are taken */
    struct phase phases[LOAD_PHASES_MAX];
    unsigned phase_count;
};

/* Dies on what it does not know; --help prints and exits. Strings point into argv. */
void load_options_parse(struct load_options *out, int argc, char **argv);

#endif
