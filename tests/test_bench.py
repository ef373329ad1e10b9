"""./dev bench runs from end to end, so that it can't rot. Its quick figures are worth nothing."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


sys.path.insert(0, str(ROOT / "tools/bench"))
from scenarios import QUICK, one_node  # noqa: E402

ONE_NODE = [scenario.name for scenario in one_node(QUICK)]


@pytest.mark.heavy
def test_every_scenario_of_the_bench_runs_and_loses_nothing(tmp_path):
    lines = tmp_path / "bench.jsonl"
    command = [sys.executable, ROOT / "tools/bench/bench.py", *ONE_NODE, "--quick", "--json", lines]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {result["scenario"] for result in results} == set(ONE_NODE)
    check(results)


@pytest.mark.heavy
def test_three_nodes_on_a_real_broker_are_measured(tmp_path):
    """On Redis alone: the other brokers take long to start, and differ in nothing here."""
    lines = tmp_path / "bench.jsonl"
    command = [sys.executable, ROOT / "tools/bench/bench.py", "bus_redis", "foreign_redis", "--quick"]
    done = subprocess.run(
        [*command, "--json", lines], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [result["bus"].split()[0] for result in results] == ["Redis", "Redis"]
    check(results)


def check(results):
    for result in results:
        assert result["faults"] == []
        assert result["machine"]["cores"] > 0
        for row in result["rows"]:
            assert row["gateway"] is not None, row
            assert row["floor"] is not None or result["scenario"].startswith("monitoring_"), row


@pytest.mark.heavy
@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind: tools/install run profile")
def test_the_cost_of_monitoring_is_counted(tmp_path):
    lines = tmp_path / "bench.jsonl"
    command = [sys.executable, ROOT / "tools/bench/bench.py", "monitoring_push", "--quick", "--json", lines]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    check(results)
    for row in results[0]["rows"]:
        assert 0.1 < row["gateway"] < 10, row  # something is found, and not everything


@pytest.mark.heavy
def test_the_bench_refuses_a_scenario_that_does_not_exist():
    command = [sys.executable, ROOT / "tools/bench/bench.py", "fanuot"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "no scenario fanuot" in done.stderr
