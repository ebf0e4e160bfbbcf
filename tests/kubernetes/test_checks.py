"""Whatever is broken in an overlay is noticed."""

from __future__ import annotations

import pytest

from tests.kubernetes import checks
from tests.kubernetes.cluster import OVERLAYS, render, with_components
from tests.kubernetes.damage import BROKEN

CHECKS = {check.__name__: check for check in checks.CHECKS}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_noticed(name: str) -> None:
    overlay, damage = BROKEN[name]
    check = CHECKS[name.partition(":")[0]]
    cluster = render(overlay) if (OVERLAYS / overlay).exists() else with_components(overlay)
    damage(cluster)
    assert list(check(cluster)) != []


def test_every_check_is_seen_to_fail() -> None:
    broken = {name.partition(":")[0] for name in BROKEN}
    assert broken == set(CHECKS)
