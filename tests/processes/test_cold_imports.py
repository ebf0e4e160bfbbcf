"""What a function imports before its first event, and for it: no library of another function."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tools.cold_imports import BASELINE, SETTINGS, STEPS, table, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

MONGODB, NATS, CALLS, TOKENS, API = (
    "pymongo",
    "nats",
    "chalicelib.adapters.supply_chain",
    "jwt",
    "chalice",
)
SERVERS = {"gunicorn", "prometheus_client"}
LIBRARIES = {MONGODB, NATS, CALLS, TOKENS, API, "boto3", "aws_xray_sdk", *SERVERS}
"""What takes long to import; the adapter of the supply chain stands for its HTTP client."""
NEEDED = {
    "app": {API},
    "app, authorizer": {API, TOKENS},
    "app, catalog": {API, TOKENS, MONGODB, NATS},
    "functions.bridge": set(),
    "functions.bridge, bridge": {NATS},
    "functions.sync": set(),
    "functions.sync, sync": {MONGODB, NATS, CALLS},
    "functions.reconcile": set(),
    "functions.reconcile, reconcile": {MONGODB, NATS},
}


FUNCTIONS = ["functions.bridge", "functions.sync", "functions.reconcile"]


def imported(steps: Sequence[str]) -> list[set[str]]:
    """The libraries that a fresh interpreter has after each of these steps."""
    program = "".join(f"{step}\nprint(*sys.modules)\n" for step in steps)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=True,
    )
    return [LIBRARIES & set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("module", ["app", *FUNCTIONS])
def test_a_function_imports_no_large_library_but_those_that_it_uses(module: str) -> None:
    # In one interpreter: each step is the one before it, and more.
    names = [name for name in NEEDED if name.split(", ")[0] == module]
    found = zip(names, imported([STEPS[name] for name in names]), strict=True)
    assert dict(found) == {name: NEEDED[name] for name in names}


def test_every_step_is_checked() -> None:
    assert set(STEPS) == {BASELINE, *NEEDED}


def test_a_step_is_timed_in_an_interpreter_of_its_own() -> None:
    cpu, wall = timed("import time; time.sleep(0.05)")

    assert wall >= 50
    assert cpu < wall


def test_the_table_gives_each_time_as_a_ratio_to_boto3() -> None:
    lines = table({BASELINE: (200.0, 400.0), "app": (250.0, 300.0)}).splitlines()

    assert lines[-2:] == [
        "| boto3 | 200 | 1.00 | 400 | 1.00 |",
        "| app | 250 | 1.25 | 300 | 0.75 |",
    ]
