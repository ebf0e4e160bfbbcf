"""`make simulate`: runs by seed or by scenario; a broken promise prints its seed and a trace.

python -m simulation [--seeds N] [--first N] [--scenario NAME] [--trace LINES]
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from chalicelib import telemetry
from simulation.promises import BrokenPromiseError
from simulation.scenarios import SCENARIOS
from simulation.world import World, broken, shortest


def main() -> int:
    """Run; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first run")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="random")
    parser.add_argument("--trace", type=int, default=80, help="lines that are printed at most")
    arguments = parser.parse_args()
    telemetry.configure(level="CRITICAL", tracing=False, metrics=False)
    began, count = time.monotonic(), 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        plan = SCENARIOS[arguments.scenario](seed)
        if found := broken(plan):
            count += 1
            print(f"seed {seed}: {found[0]}")
            if count == 1:
                _print_trace(*(shortest(plan) or found), arguments.trace)
    seconds = time.monotonic() - began
    print(f"{arguments.scenario}: {arguments.seeds} seeds, {count} broken, {seconds:.1f} s")
    return 1 if count else 0


def _print_trace(error: BrokenPromiseError, world: World, lines: int) -> None:
    print(f"  the shortest run, {world.plan.busy:.0f} s until calm: {error}")
    for line in world.trace[-lines:] if lines else []:
        print(f"  {line}")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set must not differ from run to run.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
