"""What the tests of processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server whose answers the test writes."""
    with ScriptedServer() as scripted:
        yield scripted
