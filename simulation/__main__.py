"""`make simulate`: runs by seed or by scenario; a broken promise prints its seed and a trace.

python -m simulation [--seeds N] [--first N] [--scenario NAME] [--trace LINES]
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from chalicelib import telemetry
from simulation import long_outage
from simulation.scenarios import SCENARIOS
from simulation.world import judged, shortest

LONG_OUTAGE = "long-outage"


def main() -> int:
    """Run; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first run")
    parser.add_argument("--scenario", choices=[*sorted(SCENARIOS), LONG_OUTAGE], default="random")
    parser.add_argument("--show", type=int, default=0, help="lines of each run, broken or not")
    parser.add_argument("--trace", type=int, default=80, help="lines of a broken run, at least 1")
    arguments = parser.parse_args()
    telemetry.configure(level="CRITICAL", tracing=False, metrics=False)
    if arguments.scenario == LONG_OUTAGE:
        long_outage.main()
        return 0
    began, count = time.monotonic(), 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        plan = SCENARIOS[arguments.scenario](seed)
        world = judged(plan)
        _print(world.trace[: arguments.show])
        if world.broken:
            count += 1
            print(f"seed {seed}: {world.broken}")
            if count == 1:
                short = shortest(plan)
                print(f"  the shortest run, {short.plan.busy:.0f} s until calm: {short.broken}")
                _print(short.trace[-arguments.trace :])
    seconds = time.monotonic() - began
    print(f"{arguments.scenario}: {arguments.seeds} seeds, {count} broken, {seconds:.1f} s")
    return 1 if count else 0


def _print(trace: list[str]) -> None:
    for line in trace:
        print(f"  {line}")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets must be the same in every run.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
