"""What a function imports before its first event, and for it: no library of another function."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tools.cold_imports import BASELINE, SETTINGS, STEPS, table, timed

MONGODB, NATS, CALLS, TOKENS, API = (
    "pymongo",
    "nats",
    "chalicelib.adapters.supply_chain",
    "jwt",
    "chalice",
)
LIBRARIES = {MONGODB, NATS, CALLS, TOKENS, API, "boto3", "aws_xray_sdk", "gunicorn"}
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


def imported(step: str) -> set[str]:
    """The libraries that a fresh interpreter has after this step."""
    done = subprocess.run(
        [sys.executable, "-c", f"{step}\nimport sys\nprint(*sys.modules)"],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=True,
    )
    return LIBRARIES & set(done.stdout.split())


@pytest.mark.parametrize("name", NEEDED)
def test_a_function_imports_no_large_library_but_those_that_it_uses(name: str) -> None:
    assert imported(STEPS[name]) == NEEDED[name]


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
