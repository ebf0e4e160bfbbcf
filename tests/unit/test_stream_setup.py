"""What the stream and its consumer must be like, and what is said about those that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.stream_setup import (
    StreamPlan,
    consumer_config,
    consumer_problems,
    covers,
    stream_config,
    stream_problems,
)
from chalicelib.domain.events import StreamNames

if TYPE_CHECKING:
    from chalicelib.adapters.stream_setup import Config

PLAN = StreamPlan(max_bytes=1000, replicas=3)
SECOND = 10**9


@pytest.mark.parametrize("plan", [PLAN, StreamPlan(), StreamPlan(StreamNames.of("staging"))])
def test_what_is_made_is_right(plan: StreamPlan) -> None:
    assert stream_problems(stream_config(plan), plan) == []
    assert consumer_problems(consumer_config(plan), plan) == []


@pytest.mark.parametrize(
    "more",
    [
        {"num_replicas": 5},
        {"max_bytes": 2000},
        {"max_bytes": -1},
        {"max_age": 0},
        {"duplicate_window": 3600 * SECOND},
        {"subjects": ["product.>", "other"]},
        {"description": "a person's", "compression": "s2"},
    ],
)
def test_more_than_the_catalog_asks_for_is_not_wrong(more: Config) -> None:
    assert stream_problems(stream_config(PLAN) | more, PLAN) == []


@pytest.mark.parametrize(
    ("wrong", "change"),
    [
        ({"num_replicas": 1}, {"num_replicas": 3}),
        ({"max_bytes": 999}, {"max_bytes": 1000}),
        ({"discard": "old"}, {"discard": "new"}),
        ({"max_age": SECOND}, {"max_age": 14 * 24 * 3600 * SECOND}),
        ({"duplicate_window": SECOND}, {"duplicate_window": 1200 * SECOND}),
        ({"no_ack": True}, {"no_ack": False}),
        (
            {"max_msgs_per_subject": 5},
            {"max_msgs_per_subject": -1, "discard_new_per_subject": False},
        ),
        ({"subjects": ["product.created"]}, {}),
        ({"subjects": ["orders.*"]}, {}),
        ({"retention": "workqueue"}, {}),
        ({"storage": "memory"}, {}),
    ],
)
def test_a_wrong_stream_is_named_by_its_setting_and_changed_where_no_event_is_lost(
    wrong: Config, change: Config
) -> None:
    (problem,) = stream_problems(stream_config(PLAN) | wrong, PLAN)

    assert problem.setting == next(iter(wrong))
    assert problem.change == change
    assert str(problem).startswith(f"stream PRODUCTS: {problem.setting} is ")
    # It says what to do.
    assert ("functions.migrate changes it" in str(problem)) == bool(change)
    assert problem.remedy


@pytest.mark.parametrize(
    ("wrong", "change"),
    [
        ({"ack_wait": SECOND}, {"ack_wait": 60 * SECOND}),
        ({"max_deliver": 5}, {"max_deliver": -1}),
        ({"max_batch": 10}, {"max_batch": 0}),
        ({"inactive_threshold": SECOND}, {"inactive_threshold": 0}),
        ({"num_replicas": 1}, {"num_replicas": 0}),
        (
            {"filter_subjects": ["product.created"]},
            {"filter_subject": "", "filter_subjects": StreamNames().bridged},
        ),
        ({"deliver_subject": "somewhere"}, {}),
        ({"ack_policy": "none"}, {}),
    ],
)
def test_a_wrong_consumer_is_named_by_its_setting(wrong: Config, change: Config) -> None:
    (problem,) = consumer_problems(consumer_config(PLAN) | wrong, PLAN)

    assert (problem.setting, problem.change) == (next(iter(wrong)), change)
    assert str(problem).startswith(f"consumer sync-bridge: {problem.setting} is ")
    assert change or "nats consumer rm PRODUCTS sync-bridge" in problem.remedy


def test_a_consumer_with_one_filter_or_none_lacks_the_others() -> None:
    config: dict[str, Any] = consumer_config(PLAN) | {"filter_subjects": None}

    for filters in ({"filter_subject": "product.created"}, {}):
        (problem,) = consumer_problems(config | filters, PLAN)
        assert problem.setting == "filter_subjects"


@pytest.mark.parametrize(
    ("start", "policy"),
    [
        ("all", {"deliver_policy": "all"}),
        ("new", {"deliver_policy": "new"}),
        (
            "2026-01-31T12:00:00.000Z",
            {"deliver_policy": "by_start_time", "opt_start_time": "2026-01-31T12:00:00.000Z"},
        ),
    ],
)
def test_a_consumer_begins_where_the_setting_says(start: str, policy: Config) -> None:
    config = consumer_config(StreamPlan(consumer_start=start))

    assert {name: config.get(name) for name in policy} == policy


def test_the_names_of_an_environment_are_all_its_own() -> None:
    ours, theirs = StreamNames.of("staging"), StreamNames.of(None)

    assert (ours.stream, ours.consumer) == ("staging-PRODUCTS", "staging-sync-bridge")
    assert ours.subjects == "staging.product.*"
    assert (theirs.stream, theirs.subjects, theirs.consumer) == (
        "PRODUCTS",
        "product.*",
        "sync-bridge",
    )
    assert not any(covers([theirs.subjects], subject) for subject in ours.bridged)


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("product.*", "product.created", True),
        ("product.>", "product.created", True),
        (">", "product.created", True),
        ("*.created", "product.created", True),
        ("product.created", "product.created", True),
        ("product.*", "product", False),
        ("product.*", "product.a.b", False),
        ("product.>", "product", False),
        ("product", "product.created", False),
        ("orders.*", "product.created", False),
    ],
)
def test_subjects_are_matched_as_nats_does(pattern: str, subject: str, *, covered: bool) -> None:
    assert covers([pattern], subject) is covered
