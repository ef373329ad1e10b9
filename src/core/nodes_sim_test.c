/* Several nodes on one bus in a simulation, with everything that may happen to them: thousands of
 * seeds prove rules 1 to 7 of the life of one push and the rules of epochs. */
#include "core/sim_run_test_help.h"

static void whichever_node_a_session_is_on_it_gets_what_is_for_it_or_is_told(void **state)
{
    sim_run_seeds(&(struct sim_kind){.max_nodes = SIM_NODES, .maybe = UINT32_MAX});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_node_a_session_is_on_it_gets_what_is_for_it_or_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
