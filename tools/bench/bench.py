#!/usr/bin/env python3
"""Measures the release gateway against the bare loops of the same scenarios, in the same run.

./dev bench [scenario…] [--quick] [--json FILE] prints one JSON line a scenario and then a table.
Gateway and floor take turns, and each figure is the median of the rounds. docs/performance.md says
what the rows mean. It ends with 0 when every run was sound, met targets or not; 1 when one was not.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import monitoring
import servers
from scenarios import FULL, QUICK, Row, Scenario, all_scenarios, faults_of


def machine() -> dict:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
    }


def revision() -> str:
    command = ["git", "-C", servers.ROOT, "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


class Bench:
    """One invocation: where the programs are, how often each is run."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.build = options.build
        self.binary = options.gateway or options.build / "tidegate"
        self.floors_only = options.floors
        self.rounds = options.rounds
        self.folder = folder
        self.named = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "revision": revision(),
            "machine": machine(),
            "load_at_start": round(os.getloadavg()[0], 2),
            "rounds": options.rounds,
            "quick": options.quick,
        }

    def run_gateway(self, scenario: Scenario) -> dict:
        if scenario.counts:
            return monitoring.count(self.binary, self.build, self.folder, scenario.load_args)
        with self.serve(scenario) as server:
            return server.load(self.build, scenario.load_args + scenario.gateway_args)

    def serve(self, scenario: Scenario):
        if scenario.bus:
            return servers.cluster(self.binary, self.folder, scenario.bus, scenario.measures_others)
        return servers.gateway(self.binary, self.folder, tls=scenario.tls)

    def run_floor(self, scenario: Scenario) -> dict:
        """What a scenario is compared with: a bare loop, or for a cluster one node without a broker."""
        if scenario.floor == "memory":
            with servers.gateway(self.binary, self.folder) as server:
                return server.load(self.build, scenario.load_args)
        with servers.floor(self.build, self.folder, scenario.floor) as server:
            return server.load(self.build, scenario.load_args)

    def run(self, scenario: Scenario) -> dict:
        """All rounds of a scenario, gateway and floor in turn; returns what becomes its JSON line."""
        gateway, floor, faults = [], [], []
        for _ in range(self.rounds):
            if not scenario.counts:
                floor.append(self.run_floor(scenario))
                faults += [f"floor: {fault}" for fault in faults_of(floor[-1])]
            if not self.floors_only:
                gateway.append(self.run_gateway(scenario))
                faults += [f"gateway: {fault}" for fault in faults_of(gateway[-1])]
        rows = [judge(row, gateway, floor) for row in scenario.rows]
        named = dict(self.named)
        if scenario.bus:
            named["bus"] = servers.broker_version(self.folder, servers.BUSES[scenario.bus][0])
        return {"scenario": scenario.name, **named, "rows": rows, "faults": faults}


def judge(row: Row, gateway: list[dict], floor: list[dict]) -> dict:
    gateway_values = [row.read(figures) for figures in gateway]
    floor_values = [row.read(figures) for figures in floor]
    value = statistics.median(gateway_values) if gateway_values else None
    floor_value = statistics.median(floor_values) if floor_values else None
    ratio = value / floor_value if value is not None and floor_value else None
    verdict = ""
    if row.target() and value is not None:
        verdict = "PASS" if row.is_met(value, ratio) else "MISS"
    return {
        "metric": row.metric,
        "unit": row.unit,
        "gateway": value,
        "floor": floor_value,
        "ratio": round(ratio, 3) if ratio is not None else None,
        "target": row.target(),
        "verdict": verdict,
        "gateway_rounds": gateway_values,
        "floor_rounds": floor_values,
    }


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return (
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 100 else f"{value:,.2f}"
    )


def print_table(results: list[dict]) -> None:
    cells = [("", "gateway", "floor", "ratio", "target", "")]
    for result in results:
        for row in result["rows"]:
            ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
            values = [f"{number(row[who])} {row['unit']}" for who in ("gateway", "floor")]
            cells.append((row["metric"], *values, ratio, row["target"], row["verdict"]))
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    for line in cells:
        padded = [line[0].ljust(widths[0])]
        padded += [line[column].rjust(widths[column]) for column in (1, 2, 3)]
        padded += [line[4].ljust(widths[4]), line[5]]
        print("  ".join(padded).rstrip())
    for result in results:
        for fault in result["faults"]:
            print(f"UNSOUND {result['scenario']}: {fault}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    names = [scenario.name for scenario in all_scenarios(FULL)]
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all of them without any")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs: no figures")
    parser.add_argument("--rounds", type=int, help="runs of each, whose median counts (3; 1 when quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the JSON lines go there, not to stdout")
    parser.add_argument("--floors", action="store_true", help="the bare loops alone")
    parser.add_argument(
        "--build", type=Path, default=servers.ROOT / "build/release", help="where it was built"
    )
    parser.add_argument("--gateway", type=Path, help="another tidegate binary")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(names)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def main() -> int:
    options = parse_options()
    chosen = [
        scenario
        for scenario in all_scenarios(QUICK if options.quick else FULL)
        if not options.scenario or scenario.name in options.scenario
    ]
    results = []
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        bench = Bench(options, Path(folder))
        sink = options.json.open("w") if options.json else sys.stdout
        for scenario in chosen:
            print(f"bench: {scenario.name}", file=sys.stderr)
            results.append(bench.run(scenario))
            print(json.dumps(results[-1], ensure_ascii=False), file=sink, flush=True)
    about = bench.named["machine"]
    where = f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, Linux {about['kernel']}"
    print(f"\n{where}; {bench.named['date']}; {bench.named['revision']}; medians of {options.rounds}")
    print_table(results)
    if bench.named["load_at_start"] > 0.5 and not options.quick:
        print(f"NOTE the machine was busy before it began: load {bench.named['load_at_start']}")
    return 1 if any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.BenchError as error:
        sys.exit(f"bench: {error}")
