"""./dev chaos: runs of drawn faults, seed after seed. Ends with 1 when one of them failed."""

import argparse
import sys
import time

from chaos import faults
from chaos.engines import ENGINES
from chaos.run import RATE, Scenario, drawn, run


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from --seed on (5)")
    parser.add_argument("--seed", type=int, help="the first one; alone: just this one")
    parser.add_argument(
        "--engine", choices=list(ENGINES), action="append", help="may be repeated (all with servers)"
    )
    parser.add_argument("--seconds", type=float, default=30, help="of pushes, a run (30)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"pushes a second ({RATE})")
    parser.add_argument("--plan", help='faults in words, instead of drawn ones: "3 kill n1 2; 5 roll"')
    return parser.parse_args()


def scenarios(arguments):
    first = arguments.seed if arguments.seed is not None else int(time.time())
    count = 1 if arguments.seed is not None and "--seeds" not in sys.argv else arguments.seeds
    for seed in range(first, first + count):
        for name in arguments.engine or [name for name, engine in ENGINES.items() if engine.server]:
            scenario = drawn(ENGINES[name], seed, arguments.seconds)
            if arguments.plan:
                plan = [faults.parse(line) for line in arguments.plan.split(";")]
                scenario = Scenario(ENGINES[name], seed, arguments.seconds, plan)
            scenario.rate = arguments.rate
            yield scenario


def main():
    failed = []
    for scenario in scenarios(parse_arguments()):
        verdict = run(scenario)
        print(f"{'good' if verdict.is_good else 'FAILED'}: {verdict}\n", flush=True)
        if not verdict.is_good:
            failed.append(f"{scenario.engine.name} {scenario.seed}")
    if failed:
        sys.exit(f"chaos: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
