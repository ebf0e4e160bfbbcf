"""Who is woken, and who finds a ticket: days are replayed against the alarms' own definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.alarms.cloudwatch import ALARMS
from tests.unit.alarms.days import GAUGES, Day

HOUR = 60


def test_on_a_day_without_trouble_nobody_hears_anything() -> None:
    watch = Day(24).watched()

    assert watch.told == []


# ---- the supply chain is down ----


def supply_chain_down(day: Day, begin: int, hours: int) -> Day:
    """No change is delivered; what waits grows older, and is delivered within minutes after.

    New changes wait behind it in the queue.
    """
    end = begin + hours * HOUR
    day.happens(begin, end, breaker_open=1, objective_met=0)
    return waited(day, begin, end)


def waited(day: Day, begin: int, end: int) -> Day:
    """Nothing is delivered, and then, within 20 minutes, all of it."""
    day.happens(begin, end, oldest_undelivered_seconds=lambda minute: 60 * minute)
    day.happens(end, end + 20, objective_met=10, objective_missed=50)
    return day.happens(end, end + 20, oldest_undelivered_seconds=60 * (end - begin))


def test_an_outage_of_the_supply_chain_is_one_page_however_long_it_lasts() -> None:
    watch = supply_chain_down(Day(16), HOUR, hours=12).watched()

    assert watch.told == [(HOUR + 4, "page", "supply-chain-down")]


def test_differences_that_an_audit_found_before_an_outage_are_no_ticket_during_it() -> None:
    day = supply_chain_down(Day(8), HOUR, hours=3).happens(HOUR, 4 * HOUR, audit_differences_open=2)

    assert day.watched().told == [(HOUR + 4, "page", "supply-chain-down")]


def test_a_supply_chain_that_comes_and_goes_is_one_page() -> None:
    day = Day()
    for begin in range(HOUR, 3 * HOUR, 10):
        day.happens(begin, begin + 7, breaker_open=1)

    assert day.watched().pages() == ["supply-chain-down"]


def test_a_breaker_that_closes_soon_is_no_page() -> None:
    assert Day().happens(HOUR, HOUR + 4, breaker_open=1).watched().told == []


def test_each_of_two_outages_is_a_page() -> None:
    day = supply_chain_down(supply_chain_down(Day(12), HOUR, hours=2), 5 * HOUR, hours=5)

    assert day.watched().pages() == ["supply-chain-down", "supply-chain-down"]


# ---- products that have failed ----


def rejected(day: Day, at: int, number: int = 1) -> Day:
    """Some products are rejected, and nobody does anything about them."""
    day.happens(at, at + 1, rejected=number)
    stuck = {"products_rejected": number, "dead_letters": number}
    return day.happens(at, **stuck, oldest_stuck_seconds=lambda minute: 60 * minute)


def test_a_rejected_product_that_is_forgotten_is_one_ticket() -> None:
    watch = rejected(Day(24), HOUR).watched()

    assert watch.told == [(HOUR, "ticket", "products-stuck")]


def test_it_hides_neither_the_next_product_nor_the_next_outage() -> None:
    day = supply_chain_down(rejected(Day(24), HOUR), 5 * HOUR, hours=5)
    day.happens(12 * HOUR, 12 * HOUR + 1, exhausted=1)

    watch = day.watched()

    assert watch.pages() == ["supply-chain-down"]
    assert watch.tickets() == ["products-stuck", "products-stuck"]


def test_a_product_is_asked_about_again_after_a_week() -> None:
    day = Day(2).happens(0, products_rejected=1, dead_letters=1)
    day.happens(0, oldest_stuck_seconds=lambda minute: 7 * 86400 - 3600 + 60 * minute)

    assert day.watched().told == [(HOUR + 5, "ticket", "products-forgotten")]


def test_many_rejected_products_at_once_are_a_page() -> None:
    day = Day().happens(HOUR, HOUR + 10, rejected=20)

    assert day.watched().pages() == ["products-stuck-flood"]


def test_a_flood_of_poison_is_one_ticket_which_ends_by_itself() -> None:
    day = Day(8).happens(HOUR, HOUR + 10, quarantined=10_000, dead_letters=50_000)
    watch = day.watched()

    assert watch.told == [(HOUR, "ticket", "poison")]


def test_dead_letters_of_failed_products_are_no_ticket_of_their_own_but_others_are() -> None:
    day = Day().happens(0, products_exhausted=3, dead_letters=3)
    assert day.watched().told == []

    day.happens(HOUR, dead_letters=4)
    assert day.watched().told == [(HOUR + 14, "ticket", "dead-letters")]


def test_a_letter_that_reconcile_is_about_to_delete_is_no_ticket() -> None:
    day = Day().happens(0, products_exhausted=3, dead_letters=3)
    for at in range(HOUR, 3 * HOUR, 30):
        day.happens(at, at + 3, products_exhausted=0)

    assert day.watched().told == []


# ---- the store is behind ----


def test_a_store_that_was_restored_is_a_page() -> None:
    # Kept messages come again, less and less often.
    day = Day()
    for minute in (0, 1, 3, 7, 15, 31):
        day.happens(HOUR + minute, HOUR + minute + 1, store_behind=200)

    assert day.watched().told == [(HOUR + 1, "page", "store-restored")]


def test_a_moment_of_a_failover_is_no_page() -> None:
    assert Day().happens(HOUR, HOUR + 1, store_behind=3).watched().told == []


# ---- tokens ----


def test_a_flood_of_bad_tokens_is_nobodys_business() -> None:
    used = {key: value for key, value in Day(0.1).metrics.items() if "authorizer" in key}
    # What a refused token does to the metrics of AWS: Lambda counts an error of the authorizer.
    assert "Lambda Errors authorizer" not in used
    day = Day()
    day.metrics["Lambda Errors authorizer"] = [1000.0] * day.minutes
    day.metrics["ApiGateway 4XXError"] = [1000.0] * day.minutes

    assert day.watched().told == []


def test_an_identity_provider_that_is_away_is_a_page_for_the_api_and_a_ticket_says_why() -> None:
    day = Day().happens(HOUR, 2 * HOUR, authorizer_failed=10, ApiGateway__5XXError=10)

    watch = day.watched()

    assert watch.pages() == ["api-errors"]
    assert watch.tickets() == ["authorizer-failed"]


# ---- dependencies of ours ----


def mongodb_away(day: Day, begin: int, end: int) -> Day:
    """Reconcile writes nothing but that; requests are refused, after seconds."""
    day.silence(begin, end, *GAUGES, "objective_met")
    day.happens(begin, end, store_away=1, Lambda__Errors__reconcile=1)
    day.happens(begin, end, ApiGateway__5XXError=100, ApiGateway__Latency=3200)
    # Changes of before, whose messages were deferred meanwhile.
    return waited(day, end, end).happens(
        end, end + 20, oldest_undelivered_seconds=60 * (end - begin)
    )


@pytest.mark.parametrize("hours", [1, 6])
def test_mongodb_away_is_one_page(hours: int) -> None:
    watch = mongodb_away(Day(10), HOUR, (1 + hours) * HOUR).watched()

    assert watch.told == [(HOUR + 2, "page", "mongodb-away")]


def nats_away(day: Day, begin: int, end: int) -> Day:
    """Reconcile enqueues what is overdue after its grace of five minutes."""
    day.silence(begin, end, "stream_bytes", "stream_limit_bytes")
    day.happens(begin, end, stream_away=1, Lambda__Errors__bridge=1, ApiGateway__Latency=4000)
    day.happens(begin + 5, end + 1, outbox_backlog=lambda minute: 60 * minute)
    day.happens(begin, begin + 6, objective_met=0)
    return day.happens(begin + 6, end + 6, objective_met=0, objective_missed=60)


def test_nats_away_is_one_page() -> None:
    watch = nats_away(Day(), HOUR, 3 * HOUR).watched()

    assert watch.told == [(HOUR + 4, "page", "nats-away")]


@pytest.mark.parametrize("visible", [50, None], ids=["with SQS's metrics", "without them"])
def test_sqs_away_is_one_page_also_for_hours(visible: int | None) -> None:
    day = Day(10)
    begin, end = HOUR, 6 * HOUR
    day.happens(begin, end, queue_away=1, Lambda__Invocations__sync=0, objective_met=0)
    day.happens(begin, end, SQS__ApproximateNumberOfMessagesVisible__single=visible)
    day.happens(begin, end, SQS__ApproximateNumberOfMessagesVisible__bulk=50)
    day.happens(begin + 5, end, outbox_backlog=60)

    assert waited(day, begin, end).watched().told == [(HOUR + 4, "page", "sqs-away")]


@pytest.mark.parametrize(
    ("dependency", "page"), [("store", "mongodb"), ("stream", "nats"), ("queue", "sqs")]
)
def test_a_dependency_that_is_away_again_and_again_is_a_page_too(
    dependency: str, page: str
) -> None:
    day = Day()
    for begin in range(HOUR, 3 * HOUR, 4):
        day.happens(begin, begin + 2, **{f"{dependency}_away": 1})

    assert day.watched().pages() == [f"{page}-away"]


# ---- what was never raised ----


def test_a_minute_without_a_run_of_reconcile_now_and_then_silences_nothing() -> None:
    day = Day(24).happens(2 * HOUR, Lambda__Invocations__bridge=0)
    # A run that ends a little later writes its gauges in the next minute.
    for minute in range(14, day.minutes, 15):
        day.silence(minute, minute + 1, *GAUGES)

    assert day.watched().pages() == ["bridge-stopped"]


def test_a_breaker_that_is_open_for_a_minute_now_and_then_silences_nothing() -> None:
    day = Day(24).happens(0, oldest_undelivered_seconds=lambda minute: 60 * minute)
    for minute in range(0, day.minutes, 12):
        day.happens(minute, minute + 1, breaker_open=1)

    assert day.watched().pages() == ["undelivered"]


@pytest.mark.parametrize("every", [4, 5, 15])
def test_an_outage_with_minutes_without_data_is_one_page_and_then_silences_no_more(
    every: int,
) -> None:
    end = 3 * HOUR
    day = Day(10).happens(HOUR, end, store_away=1)
    day.happens(end, oldest_undelivered_seconds=5 * 3600)
    for minute in range(every - 1, day.minutes, every):
        day.silence(minute, minute + 1, "store_away")

    (outage, promise) = day.watched().told

    # At most a gap later than without gaps, both at its begin and at its end.
    assert outage[0] in range(HOUR + 2, HOUR + 4)
    assert promise[0] in range(end + HOUR + 7, end + HOUR + 12)
    assert [outage[2], promise[2]] == ["mongodb-away", "undelivered"]


# ---- parts of ours ----


@pytest.mark.parametrize("errors", [0, 1], ids=["is not started", "fails"])
def test_a_reconcile_that_does_not_run_is_one_page(errors: int) -> None:
    end = 6 * HOUR
    day = Day(8).silence(HOUR, end, *GAUGES).happens(HOUR, end, Lambda__Errors__reconcile=errors)
    # What was parked before.
    day.happens(end, end + 10, oldest_undelivered_seconds=5 * 3600)

    assert day.watched().told == [(HOUR + 3, "page", "reconcile-silent")]


def test_an_outage_of_the_supply_chain_during_which_reconcile_does_not_run_is_a_page_each() -> None:
    day = supply_chain_down(Day(8), HOUR, hours=5)
    day.silence(2 * HOUR, 3 * HOUR, *GAUGES)

    assert day.watched().pages() == ["supply-chain-down", "reconcile-silent"]


def test_a_bridge_that_does_not_run_is_one_page() -> None:
    day = Day().silence(HOUR, 3 * HOUR, "Lambda Invocations bridge")
    day.happens(HOUR, HOUR + 6, objective_met=0)
    # Only reconcile enqueues, five minutes late, and publishes what is in the outboxes.
    day.happens(HOUR + 5, 3 * HOUR + 5, outbox_backlog=60)
    day.happens(HOUR + 6, 3 * HOUR + 6, objective_met=0, objective_missed=60)

    assert day.watched().told == [(HOUR + 4, "page", "bridge-stopped")]


def test_schedules_that_start_nothing_are_one_page() -> None:
    day = Day().silence(HOUR, 3 * HOUR, "Lambda Invocations bridge", *GAUGES)

    assert day.watched().pages() == ["reconcile-silent"]


def test_queues_that_start_no_function_are_one_page() -> None:
    day = Day(8).silence(HOUR, 6 * HOUR, "Lambda Invocations sync")
    day.happens(HOUR, 6 * HOUR, SQS__ApproximateNumberOfMessagesVisible__single=500)
    day.happens(HOUR, 6 * HOUR, SQS__ApproximateNumberOfMessagesVisible__bulk=500)
    day.happens(HOUR, 6 * HOUR, objective_met=0)
    day.happens(HOUR + 5, 6 * HOUR, outbox_backlog=60)

    told = waited(day, HOUR, 6 * HOUR).watched().told

    assert told == [(HOUR + 9, "page", "sync-not-invoked")]


def test_a_bulk_queue_that_nobody_receives_from_is_a_ticket() -> None:
    day = Day().happens(
        HOUR,
        SQS__ApproximateNumberOfMessagesVisible__bulk=5000,
        SQS__NumberOfMessagesReceived__bulk=0,
    )

    assert day.watched().told == [(HOUR + 14, "ticket", "bulk-not-received")]


# ---- an operator ----


def test_a_long_pause_is_one_ticket_and_no_page() -> None:
    day = Day(14).happens(HOUR, 11 * HOUR, sync_paused=1, objective_met=0, audit_differences_open=1)
    waited(day, HOUR, 11 * HOUR).happens(11 * HOUR, audit_differences_open=0)

    assert day.watched().told == [(2 * HOUR - 1, "ticket", "sync-paused")]


def test_a_pause_of_half_an_hour_tells_nobody() -> None:
    assert Day().happens(HOUR, HOUR + 30, sync_paused=1).watched().told == []


# ---- the promise ----


def test_a_change_that_nothing_explains_is_a_page_after_four_hours() -> None:
    day = Day(6).happens(HOUR, oldest_undelivered_seconds=lambda minute: 60 * minute)

    assert day.watched().told == [(5 * HOUR + 3, "page", "undelivered")]


def test_late_deliveries_are_a_page_if_they_are_many() -> None:
    day = Day().happens(HOUR, objective_met=30, objective_missed=30)

    watch = day.watched()

    # By then 14.4 % of the last hour's deliveries were late.
    assert [item for item in watch.told if item[1] == "page"] == [
        (HOUR + 17, "page", "objective-burns-fast")
    ]


def test_a_few_in_a_hundred_late_for_hours_are_a_ticket() -> None:
    day = Day(12).happens(HOUR, objective_met=92, objective_missed=8)

    watch = day.watched()

    assert (watch.pages(), watch.tickets()) == ([], ["objective-burns-slowly"])


def test_one_late_delivery_in_a_hundred_is_what_was_promised() -> None:
    assert Day(12).happens(0, objective_met=99, objective_missed=1).watched().told == []


def test_a_quiet_night_with_a_late_delivery_wakes_nobody() -> None:
    day = Day().silence(0, 4 * HOUR, "objective_met", "objective_missed")
    day.happens(HOUR, HOUR + 1, objective_missed=4)

    assert day.watched().told == []


def test_everything_late_is_a_page_also_if_nothing_else_was_counted() -> None:
    # Reconcile has written nothing but that: FILL may not fill a metric that is not there.
    day = Day().happens(0, objective_met=0, objective_missed=0)
    day.happens(HOUR, objective_missed=2)

    assert day.watched(fills_empty=False).pages() == ["objective-burns-fast"]


# ---- one metric, one alarm ----


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ApiGateway__5XXError": 6}, "page api-errors"),
        ({"ApiGateway__Latency": 2500}, "ticket api-slow"),
        ({"outbox_backlog": 1}, "page events-not-published"),
        ({"stream_bytes": 0.9e9}, "ticket stream-nearly-full"),
        ({"products_unreadable": 1}, "ticket products-unreadable"),
        ({"secrets_not_renewed": 1}, "ticket secrets-not-renewed"),
        ({"audit_differences": 1}, "ticket audit-differences"),
        ({"audit_differences_open": 1}, "ticket audit-unrepaired"),
        ({"Lambda__Errors__bridge": 1}, "ticket bridge-errors"),
        ({"Lambda__Errors__sync": 1}, "ticket sync-errors"),
        ({"Lambda__Errors__reconcile": 1}, "ticket reconcile-errors"),
        ({"Lambda__Throttles__api": 1}, "ticket function-throttles"),
    ],
)
def test_what_goes_wrong_alone_is_told_once(changes: dict[str, Any], told: str) -> None:
    watch = Day(3).happens(HOUR, **changes).watched()

    assert [f"{severity} {name}" for _, severity, name in watch.told] == [told]


def test_a_stream_without_a_limit_is_never_nearly_full() -> None:
    day = Day().silence(0, 4 * HOUR, "stream_limit_bytes").happens(0, stream_bytes=1e12)

    assert day.watched().told == []


def test_each_alarm_is_raised_by_a_replay() -> None:
    text = Path(__file__).read_text()
    assert [name for name in ALARMS if name not in text and name != "held-by-operator"] == []
