"""The alarms watch what the code itself writes: a pipeline lives through some hours."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from chalicelib.domain.errors import CatalogError
from chalicelib.domain.product import Product
from tests.fakes import Pipeline
from tests.unit.alarms.cloudwatch import Value
from tests.unit.alarms.days import Day
from tests.unit.outages.steps import a_pipeline

Capture = pytest.CaptureFixture[str]
Change = Callable[[Pipeline], object]


def written(capsys: Capture) -> dict[str, float]:
    """The metrics of a minute, counters added up."""
    found: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        content = json.loads(line) if "_aws" in line else {}
        for name, value in content.items():
            if isinstance(value, int | float):
                found[name] = found.get(name, 0) + value
    return found


def tried(step: Callable[[], object]) -> bool:
    """Do a step as a host does it, which survives that a dependency is away."""
    try:
        return bool(step())
    except CatalogError:
        return False


def a_minute(pipeline: Pipeline) -> None:
    """Four changes, and what follows."""
    for _ in range(4):
        tried(pipeline.create)
    tried(pipeline.bridge_once)
    while tried(pipeline.sync_once):
        pass
    pipeline.clock.advance(50)
    tried(lambda: pipeline.reconcile_once(seconds=1))
    while tried(pipeline.sync_once):
        pass
    pipeline.clock.advance(9)


def lived(hours: int, capsys: Capture, changes: dict[int, Change]) -> Day:
    """Let a pipeline live; `changes` happen to it at these minutes. All else goes well."""
    pipeline, day = a_pipeline(), Day(hours)
    capsys.readouterr()
    own = {name for name in day.metrics if " " not in name}
    for minute in range(day.minutes):
        if change := changes.get(minute):
            change(pipeline)
        a_minute(pipeline)
        values: dict[str, Value] = {**dict.fromkeys(own), **written(capsys)}
        day.happens(minute, minute + 1, **{name: values[name] for name in own})
    return day


def switch(port: str, *, away: bool) -> Change:
    return lambda pipeline: setattr(getattr(pipeline, port), "away", away)


def outage(port: str) -> dict[int, Change]:
    return {20: switch(port, away=True), 50: switch(port, away=False)}


def test_an_hour_without_trouble_tells_nobody(capsys: Capture) -> None:
    assert lived(1, capsys, {}).watched().told == []


@pytest.mark.parametrize(
    ("port", "page"),
    [
        ("store", "mongodb-away"),
        ("stream", "nats-away"),
        ("queue", "sqs-away"),
    ],
)
def test_an_outage_is_one_page(capsys: Capture, port: str, page: str) -> None:
    watch = lived(2, capsys, outage(port)).watched()

    assert [f"{severity} {name}" for _, severity, name in watch.told] == [f"page {page}"]


def test_a_store_that_is_restored_while_changes_go_on_is_one_page(capsys: Capture) -> None:
    kept: dict[str, Product] = {}

    def back_up(pipeline: Pipeline) -> None:
        kept.update(pipeline.store.products)

    def change_all(pipeline: Pipeline) -> None:
        for product_id in kept:
            pipeline.update(product_id, name="Newer")

    def restore(pipeline: Pipeline) -> None:
        pipeline.store.products = dict(kept)

    def change(pipeline: Pipeline) -> None:
        # The changes of the minute before are in the stream, and not in the store.
        change_all(pipeline)
        restore(pipeline)

    watch = lived(2, capsys, {2: back_up, 30: change}).watched()

    assert [name for _, severity, name in watch.told if severity == "page"] == ["store-restored"]


def test_a_rejected_product_is_one_ticket_and_the_next_outage_a_page(capsys: Capture) -> None:
    def reject(pipeline: Pipeline) -> None:
        pipeline.supply_chain.answers[pipeline.create()] = [422]

    watch = lived(2, capsys, {10: reject, **outage("supply_chain")}).watched()

    assert (watch.pages(), watch.tickets()) == (["supply-chain-down"], ["products-stuck"])
