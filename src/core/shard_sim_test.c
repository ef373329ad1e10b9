/* The whole of core on one node in a simulation: thousands of seeds, each a few hundred random
 * steps; also where memory runs out. */
#include "core/sim_run_test_help.h"

static const uint32_t usual = SIM_SMALL_WINDOWS | SIM_SMALL_RINGS | SIM_UNUSED_POSITIONS;

static void whatever_happens_each_session_gets_what_is_for_it_once_and_in_order(void **state)
{
    sim_run_seeds(&(struct sim_kind){.max_nodes = 1, .fates = usual});
}

static void what_is_lost_for_want_of_memory_is_told(void **state)
{
    sim_run_seeds(&(struct sim_kind){.max_nodes = 1, .out_of_memory = true, .fates = usual});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_each_session_gets_what_is_for_it_once_and_in_order),
        cmocka_unit_test(what_is_lost_for_want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
