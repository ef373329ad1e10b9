/* bus_contract [-k PART] ENGINE [KEY=VALUE ...] [link:NODE=TOLD,BOUND ...]: asks an engine, on its
 * real server, for all that bus/bus.h promises. tests/bus/run writes the command line. -k: only the
 * cases whose name contains PART; -q: without the slow ones. */
#include "contract.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "peer.h"

enum { MAX_CASES = 96 };

static const struct contract_case *const tables[] = {
    contract_age_begin, contract_order, contract_start,   contract_close,  contract_limits,
    contract_faults,    contract_links, contract_age_end, contract_poison, contract_holes,
};

static const struct {
    unsigned need;
    const char *what;
} words[] = {
    {NEEDS_NODES, "is one node alone"},    {NEEDS_REPLAY, "keeps nothing to replay"},
    {NEEDS_LOSSLESS, "may lose records"},  {NEEDS_LOSSY, "loses nothing"},
    {NEEDS_BROKER, "has no server"},       {NEEDS_LINK, "has no server that listens apart"},
    {NEEDS_SERVERS, "has no two servers"}, {NEEDS_LIMIT, "takes any record"},
};

/* What this bus says of itself. */
static unsigned abilities(void)
{
    static void *nobody;
    if (rig_open(&nobody) != 0) {
        return 0;
    }
    const struct bus *bus = rig_node(&(struct node_setup){.name = "probe"})->bus;
    unsigned can = bus->engine->nodes ? NEEDS_NODES : 0;
    can |= bus_can_replay(bus) ? NEEDS_REPLAY : 0;
    can |= bus_is_lossless(bus) ? NEEDS_LOSSLESS : NEEDS_LOSSY;
    can |= bus->max_record != UINT32_MAX ? NEEDS_LIMIT : 0;
    if (bus->engine->broker) {
        can |= NEEDS_BROKER | (rig_has_links() ? NEEDS_LINK : 0);
        can |= rig_data_servers() > 1 ? NEEDS_SERVERS : 0;
    }
    rig_close(&nobody);
    return can;
}

static void tell_left_out(const struct contract_case *left_out, unsigned lacking)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (lacking & words[i].need) {
            printf("not asked: %s (this bus %s)\n", left_out->name, words[i].what);
            return;
        }
    }
}

static size_t gather(struct CMUnitTest *tests, const char *part, bool is_quick)
{
    size_t count = 0;
    unsigned can = abilities();
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const struct contract_case *each = tables[t]; each->name; each++) {
            if ((part && !strstr(each->name, part)) || (is_quick && each->is_slow)) {
                continue;
            }
            if (each->needs & ~can) {
                tell_left_out(each, each->needs & ~can);
                continue;
            }
            ASSERT(count < MAX_CASES);
            tests[count++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(each->run, rig_open,
                                                                                rig_close);
            tests[count - 1].name = each->name;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[MAX_CASES];
    const char *part = NULL;
    bool is_quick = false;
    signal(SIGPIPE, SIG_IGN);
    log_set_level(getenv("CONTRACT_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    if (argc > 1 && strcmp(argv[1], "--peer") == 0) {
        return peer_main(argc - 1, argv + 1);
    }
    for (int option; (option = getopt(argc, argv, "+k:q")) != -1;) {
        part = option == 'k' ? optarg : part;
        is_quick |= option == 'q';
        if (option == '?') {
            return 2;
        }
    }
    rig.argc = argc - optind;
    rig.argv = argv + optind;
    if (!settings_read(&rig.settings, rig.argc, rig.argv)) {
        return 2;
    }
    size_t count = gather(tests, part, is_quick);
    fflush(stdout);
    return _cmocka_run_group_tests(rig.settings.engine->name, tests, count, NULL, NULL);
}
