"""What the stream and the bridge's consumer must be like, and what is wrong with those there are.

Pure: configurations as NATS writes them, in JSON. docs/nats.md says who makes and changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.events import EventType, StreamNames
from chalicelib.domain.retry import QUEUE_RETENTION_SECONDS
from chalicelib.usecases.ports import PULL_LIMIT

ACK_WAIT_SECONDS = 60
MIGRATE = "python -m functions.migrate"
BY_MIGRATION = f"{MIGRATE} changes it"
OF_A_MIRROR = "docs/disaster.md, The region is lost"
A_WRONG_STREAM = "A stream that cannot be mended"
"""The heading of docs/nats.md."""
DUPLICATE_WINDOW_SECONDS = 1200.0
NANOSECONDS = 10**9
"""NATS counts durations in them."""

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What the catalog asks of the stream.

    `max_bytes`: size limit of a new stream; some NATS services require one. `replicas`: on how many
    servers of a cluster it is. `duplicate_window`: seconds for which it must know an event again.
    `consumer_start`: where a consumer that is made anew begins: `all`, `new`, or a time (RFC 3339).
    """

    names: StreamNames = field(default_factory=StreamNames)
    max_bytes: int | None = None
    replicas: int = 1
    duplicate_window: float = DUPLICATE_WINDOW_SECONDS
    consumer_start: str = "all"


def stream_config(plan: StreamPlan) -> Config:
    """Give the configuration of a new stream."""
    return {
        "name": plan.names.stream,
        "subjects": [plan.names.subjects],
        "storage": "file",
        "retention": "limits",
        # A full stream refuses events, and the outbox keeps them: none is dropped.
        "discard": "new",
        "num_replicas": plan.replicas,
        "max_age": QUEUE_RETENTION_SECONDS * NANOSECONDS,
        "max_bytes": plan.max_bytes or -1,
        # The server refuses a duplicate window that is longer than the retention.
        "duplicate_window": int(min(plan.duplicate_window, QUEUE_RETENTION_SECONDS) * NANOSECONDS),
    }


def consumer_config(plan: StreamPlan) -> Config:
    """Give the configuration of a new consumer."""
    starts = {"all": {"deliver_policy": "all"}, "new": {"deliver_policy": "new"}}
    at = {"deliver_policy": "by_start_time", "opt_start_time": plan.consumer_start}
    return {
        "durable_name": plan.names.consumer,
        "name": plan.names.consumer,
        "ack_policy": "explicit",
        "ack_wait": int(ACK_WAIT_SECONDS * NANOSECONDS),
        "filter_subjects": plan.names.bridged,
        **starts.get(plan.consumer_start, at),
    }


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting. `change` mends it; without one a person must do what `remedy` says."""

    of: str
    setting: str
    found: object
    needed: str
    change: Config = field(default_factory=dict)
    remedy: str = BY_MIGRATION

    def __str__(self) -> str:
        return f"{self.of}: {self.setting} is {self.found}, {self.needed}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a setting must be. `default`: what it is where NATS does not write it."""

    setting: str
    default: object
    is_wrong: Callable[[Any], bool]
    needed: str
    change: Config = field(default_factory=dict)


def _is_not(wanted: str) -> Callable[[Any], bool]:
    return lambda value: value != wanted


def _is_limit(value: int) -> bool:
    return value > 0


_STREAM_RULES = (
    _Rule(
        "retention",
        "limits",
        _is_not("limits"),
        "must be limits, else events go when they are acknowledged",
    ),
    _Rule("storage", "file", _is_not("file"), "must be file, else a restart loses all events"),
    _Rule(
        "discard",
        "old",
        _is_not("new"),
        "must be new, else a full stream drops its oldest events",
        {"discard": "new"},
    ),
    _Rule(
        "max_msgs_per_subject",
        -1,
        _is_limit,
        "must be -1, else the oldest events of a type are dropped",
        {"max_msgs_per_subject": -1, "discard_new_per_subject": False},
    ),
    _Rule(
        "no_ack",
        "",
        bool,
        "must be false, else nobody knows what is stored",
        {"no_ack": False},
    ),
)
_CONSUMER_RULES = (
    _Rule("deliver_subject", "", bool, "must not be set, since the bridge pulls"),
    _Rule(
        "ack_policy",
        "none",
        _is_not("explicit"),
        "must be explicit, else events count as forwarded that are not",
    ),
    _Rule(
        "max_deliver", -1, _is_limit, "must be -1, else events are given up", {"max_deliver": -1}
    ),
    _Rule(
        "max_batch",
        0,
        lambda value: 0 < value < PULL_LIMIT,
        f"must be 0 or at least {PULL_LIMIT}, else the bridge is refused",
        {"max_batch": 0},
    ),
    _Rule(
        "inactive_threshold",
        0,
        _is_limit,
        "must be 0, else the consumer goes when no bridge runs",
        {"inactive_threshold": 0},
    ),
)


def stream_problems(found: Config, plan: StreamPlan) -> list[Problem]:
    """Say what is wrong with the stream. More than the catalog asks for is not wrong."""
    of = f"stream {plan.names.stream}"
    if mirror := found.get("mirror"):
        # Nothing else is looked at: it is changed when it becomes the stream.
        needed = "must not be set, else it takes no events"
        return [Problem(of, "mirror", mirror.get("name"), needed, remedy=OF_A_MIRROR)]
    remedy = f"it cannot be changed: docs/nats.md, {A_WRONG_STREAM}"
    return [
        *_wrong_subjects(found, plan, of),
        *_broken(found, _STREAM_RULES, of, remedy),
        *_too_small(found, plan, of),
    ]


def consumer_problems(found: Config, plan: StreamPlan) -> list[Problem]:
    """Say what is wrong with the consumer. Where it began is not looked at: that is over."""
    of, wanted = f"consumer {plan.names.consumer}", consumer_config(plan)
    remedy = f"nats consumer rm {plan.names.stream} {plan.names.consumer}, then {MIGRATE}"
    problems = [*_broken(found, _CONSUMER_RULES, of, remedy)]
    filters = found.get("filter_subjects") or [found.get("filter_subject") or ">"]
    if sorted(filters) != wanted["filter_subjects"]:
        change = {"filter_subject": "", "filter_subjects": wanted["filter_subjects"]}
        needed = f"must be {wanted['filter_subjects']}"
        problems.append(Problem(of, "filter_subjects", filters, needed, change))
    if 0 < (wait := found.get("ack_wait", 0)) < wanted["ack_wait"]:
        problems.append(_too_short(of, "ack_wait", wait, wanted))
    if 0 < (replicas := found.get("num_replicas", 0)) < plan.replicas:
        needed = "must be 0 (those of the stream)"
        problems.append(Problem(of, "num_replicas", replicas, needed, {"num_replicas": 0}))
    return problems


def _broken(found: Config, rules: Iterable[_Rule], of: str, remedy: str) -> Iterator[Problem]:
    for rule in rules:
        value = found.get(rule.setting, rule.default)
        if rule.is_wrong(value):
            todo = BY_MIGRATION if rule.change else remedy
            yield Problem(of, rule.setting, value, rule.needed, rule.change, todo)


def _wrong_subjects(found: Config, plan: StreamPlan, of: str) -> Iterator[Problem]:
    subjects, wanted = found.get("subjects") or [], plan.names.subjects
    if not all(covers(subjects, plan.names.subject(event_type)) for event_type in EventType):
        # It may be somebody else's stream of the same name.
        edit = f"nats stream edit {plan.names.stream} --subjects='{wanted}'"
        remedy = f"{edit}, if it is the catalog's"
        yield Problem(of, "subjects", subjects, f"must have {wanted}", remedy=remedy)


def _too_small(found: Config, plan: StreamPlan, of: str) -> Iterator[Problem]:
    wanted = stream_config(plan)
    least = {"num_replicas": "NATS_STREAM_REPLICAS", "max_bytes": "NATS_STREAM_MAX_BYTES"}
    for name, setting in least.items():
        # No limit is written as -1.
        if 0 < (value := found.get(name) or 0) < wanted[name]:
            needed = f"must be {wanted[name]} or more ({setting})"
            yield Problem(of, name, value, needed, {name: wanted[name]})
    # Here no limit is 0.
    if 0 < (age := found.get("max_age", 0)) < wanted["max_age"]:
        yield _too_short(of, "max_age", age, wanted)
    if (window := found.get("duplicate_window", 0)) < wanted["duplicate_window"]:
        yield _too_short(of, "duplicate_window", window, wanted)


def _too_short(of: str, name: str, found: int, wanted: Config) -> Problem:
    needed = f"must be {_seconds(wanted[name])} or more"
    return Problem(of, name, _seconds(found), needed, {name: wanted[name]})


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:g} s"


def covers(patterns: Sequence[str], subject: str) -> bool:
    """Say whether a stream with these subjects takes a message of this one."""
    return any(_covers(pattern.split("."), subject.split(".")) for pattern in patterns)


def _covers(pattern: Sequence[str], subject: Sequence[str]) -> bool:
    for place, part in enumerate(pattern):
        if part == ">":
            return len(subject) > place
        if place >= len(subject) or part not in {"*", subject[place]}:
            return False
    return len(pattern) == len(subject)
