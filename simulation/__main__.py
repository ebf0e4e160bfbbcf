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
from simulation.run import Run
from simulation.scenarios import SCENARIOS, random_plan


def main() -> int:
    """Run; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m simulation")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--trace", type=int, default=60)
    arguments = parser.parse_args()
    telemetry.configure(level="CRITICAL", tracing=False, metrics=False)
    make = SCENARIOS[arguments.scenario] if arguments.scenario else random_plan
    began, broken = time.monotonic(), 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        run = Run(make(seed))
        try:
            run.run()
        except BrokenPromiseError as error:
            broken += 1
            print(f"seed {seed}: {error}")
            if arguments.trace and broken == 1:
                print("\n".join(run.trace[-arguments.trace :]))
    print(f"{arguments.seeds} seeds, {broken} broken, {time.monotonic() - began:.1f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set must not differ from run to run.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
