"""The simulation within a test."""

from __future__ import annotations

import pytest

from chalicelib import telemetry


@pytest.fixture
def quiet() -> None:
    """Neither logs nor metrics: there are thousands."""
    telemetry.configure(level="CRITICAL", tracing=False, metrics=False)
