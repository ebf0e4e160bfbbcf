"""How long each Lambda handler takes to import, as a ratio to `import boto3` of the same run.

    python -m tools.cold_imports [--rounds 9]

Each import runs in a fresh interpreter; of CPU and wall time it gives the median in milliseconds.
The second row of a handler also makes the use case that the function runs, with its adapters.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from statistics import median

BASELINE = "boto3"
_PART = "from chalicelib.bootstrap import container; container()."
STEPS = {
    BASELINE: "import boto3",
    "app": "import app",
    "app, authorizer": f"import app; {_PART}tokens",
    "app, catalog": f"import app; {_PART}tokens; {_PART}catalog",
    "functions.bridge": "import functions.bridge",
    "functions.bridge, bridge": f"import functions.bridge; {_PART}bridge",
    "functions.sync": "import functions.sync",
    "functions.sync, sync": f"import functions.sync; {_PART}sync",
    "functions.reconcile": "import functions.reconcile",
    "functions.reconcile, reconcile": f"import functions.reconcile; {_PART}reconcile",
}
"""What is run, by its name in the table."""
SETTINGS = {
    "MONGODB_URI": "mongodb://127.0.0.1",
    "NATS_URL": "nats://127.0.0.1",
    "SYNC_QUEUE_URL": "http://127.0.0.1/queue",
    "SYNC_DLQ_URL": "http://127.0.0.1/dlq",
    "SUPPLY_CHAIN_URL": "http://127.0.0.1",
    "CATALOG_JWT_SECRET": "x" * 32,
}
"""Enough to make a container; nothing connects."""
_TIMED = """\
import time
cpu, wall = time.process_time(), time.perf_counter()
{step}
print(1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall))
"""


def timed(step: str) -> tuple[float, float]:
    """Run it in a fresh interpreter; give its milliseconds of CPU and of wall time."""
    done = subprocess.run(  # noqa: S603 - this Python, and a text from above
        [sys.executable, "-c", _TIMED.format(step=step)],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=True,
    )
    cpu, wall = map(float, done.stdout.split())
    return cpu, wall


def medians(rounds: int) -> dict[str, tuple[float, float]]:
    """Run every step once per round, so that all see the same load; give CPU and wall of each."""
    runs = [{name: timed(step) for name, step in STEPS.items()} for _ in range(rounds)]
    return {
        name: (median(run[name][0] for run in runs), median(run[name][1] for run in runs))
        for name in STEPS
    }


def table(times: dict[str, tuple[float, float]]) -> str:
    """Give the times as a table in Markdown, each as milliseconds and as a ratio."""
    base = times[BASELINE]
    rows = ["| import | CPU ms | ratio | wall ms | ratio |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| {name} | {cpu:.0f} | {cpu / base[0]:.2f} | {wall:.0f} | {wall / base[1]:.2f} |"
        for name, (cpu, wall) in times.items()
    ]
    return "\n".join(rows)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    print(table(medians(parser.parse_args().rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
