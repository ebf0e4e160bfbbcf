"""The container of a host, with every port in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chalicelib.bootstrap import Container
    from tests.unit.conftest import World


@pytest.fixture
def parts(world: World) -> Container:
    return world.parts
