"""`python -m embedded.catalog_size` on a stack that runs, with few products."""

from __future__ import annotations

import pytest

from chalicelib.settings import read_settings
from embedded import catalog_size
from embedded.bench import settings_on
from embedded.catalog_size import Cost, costs, table
from tests.support import RunningStack

SIZES = (50, 200)


@pytest.mark.embedded("mongodb", "reads SecantusDB's form of `explain`")
def test_what_runs_per_request_and_per_minute_reads_the_same_in_a_larger_catalog(
    whole: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each statement of what runs per minute is explained: fewer products have fewer of them.
    monkeypatch.setattr(catalog_size, "FEW", 15)
    monkeypatch.setattr(catalog_size, "ROUNDS", 1)
    small, large = (
        costs(read_settings(settings_on(whole.settings, f"size-{size}")), size) for size in SIZES
    )

    # SecantusDB has no index for ranges of ids.
    scanned = {name for name, cost in large.items() if cost.documents > SIZES[1]}
    assert scanned == {
        "list, first page of 50",
        "list, page of 50 after 90 %",
    }
    flat = small.keys() - scanned
    assert "GET /sync" in flat
    assert {name: large[name].documents for name in flat} == {
        name: small[name].documents for name in flat
    }


def test_the_table_has_a_row_for_each_use_and_a_column_for_each_size() -> None:
    cost = Cost(1.25, 2, 3)

    _, head, row = table({1000: {"list": cost}, 20_000: {"list": cost}})

    assert head.split() == ["1,000", "20,000"]
    assert row.split() == ["list", *["1.2", "/", "2", "/", "3"], *["1.2", "/", "2", "/", "3"]]
