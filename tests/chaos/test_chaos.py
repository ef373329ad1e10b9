"""One short run of each engine, and those that once failed. `./dev chaos` draws more."""

import pytest

from chaos import faults
from chaos.engines import ENGINES
from chaos.regressions import REGRESSIONS
from chaos.run import Scenario, run, told

RUN_SECONDS = 150

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(RUN_SECONDS)]


def must_be_good(scenario, capsys):
    verdict = run(scenario)
    with capsys.disabled():
        print(f"\n{verdict}")
    assert verdict.is_good, str(verdict)


# Two masters have all that one has, and more: the run with one is for ./dev faults. Their servers need the
# machine for themselves.
MARKS = {"rocketmq": pytest.mark.long, "rocketmq-two": pytest.mark.release}
STORIES = [pytest.param(name, marks=MARKS.get(name, ())) for name in ENGINES]


@pytest.mark.parametrize("name", STORIES)
def test_what_was_accepted_arrives_once_and_in_order_whatever_fails(name, capsys):
    must_be_good(told(ENGINES[name]), capsys)


def test_a_run_that_loses_is_found():
    """What was accepted before a gateway on its own was killed is gone, and that must show."""
    plan = [faults.Fault(1, "kill", "n0", 0.5)]
    verdict = run(Scenario(ENGINES["memory"], 1, 3, plan, users=50))
    assert not verdict.is_good
    assert {"accepted and lost", "gaps that must not be"} <= set(verdict.checker.wrong)


@pytest.mark.parametrize("name, seed, seconds, plan", REGRESSIONS)
def test_what_once_failed_does_not_again(name, seed, seconds, plan, capsys):
    must_be_good(Scenario(ENGINES[name], seed, seconds, [faults.parse(line) for line in plan]), capsys)


@pytest.mark.parametrize("name", ENGINES)
def test_a_seed_always_draws_the_same_plan_and_its_words_say_all_of_it(name):
    for seed in range(200):
        plan = faults.draw(ENGINES[name], seed, 40)
        assert plan == faults.draw(ENGINES[name], seed, 40)
        assert plan
        assert [str(faults.parse(str(fault))) for fault in plan] == [str(fault) for fault in plan]
