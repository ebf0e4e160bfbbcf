"""The simulation within a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib import telemetry


@pytest.fixture
def quiet() -> Iterator[None]:
    """Neither logs nor metrics: there are thousands."""
    telemetry.configure(level="CRITICAL", tracing=False, metrics=False)
    yield
    telemetry.configure(level="INFO", tracing=False)
