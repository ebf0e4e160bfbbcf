"""What the stream and the bridge's consumer must be like, and what is wrong with those there are.

Pure: configurations as NATS writes them, in JSON. docs/nats.md says who makes and changes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.events import EventType, StreamNames
from chalicelib.domain.retry import QUEUE_RETENTION_SECONDS
from chalicelib.usecases.ports import PULL_LIMIT

ACK_WAIT_SECONDS = 60
MIGRATE = "python -m functions.migrate"
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
    remedy: str = f"{MIGRATE} changes it"

    def __str__(self) -> str:
        return f"{self.of}: {self.setting} is {self.found}, {self.needed}; {self.remedy}"


def stream_problems(found: Config, plan: StreamPlan) -> list[Problem]:
    """Say what is wrong with the stream. More than the catalog asks for is not wrong."""
    return [*_lost_events(found, plan), *_too_small(found, plan)]


def _lost_events(found: Config, plan: StreamPlan) -> Iterator[Problem]:
    """Find settings by which events do not come, or do not stay."""
    of = f"stream {plan.names.stream}"
    again = f"it cannot be changed: docs/nats.md, {A_WRONG_STREAM}"
    subjects = found.get("subjects") or []
    lacking = [t for t in EventType if not covers(subjects, plan.names.subject(t))]
    if lacking:
        mend = f"nats stream edit {plan.names.stream} --subjects='{plan.names.subjects}', if it is "
        needed = f"must have {plan.names.subjects}"
        yield Problem(of, "subjects", subjects, needed, remedy=f"{mend}the catalog's")
    if found.get("retention", "limits") != "limits":
        needed = "must be limits, else events go when they are acknowledged"
        yield Problem(of, "retention", found["retention"], needed, remedy=again)
    if found.get("storage", "file") != "file":
        needed = "must be file, else a restart loses all events"
        yield Problem(of, "storage", found["storage"], needed, remedy=again)
    if found.get("discard", "old") != "new":
        needed = "must be new, else a full stream drops its oldest events"
        yield Problem(of, "discard", "old", needed, {"discard": "new"})
    if (limit := found.get("max_msgs_per_subject", -1)) > 0:
        needed = "must be -1, else the oldest events of a type are dropped"
        change = {"max_msgs_per_subject": -1, "discard_new_per_subject": False}
        yield Problem(of, "max_msgs_per_subject", limit, needed, change)
    if found.get("no_ack"):
        needed = "must be false, else nobody knows what is stored"
        yield Problem(of, "no_ack", "true", needed, {"no_ack": False})


def _too_small(found: Config, plan: StreamPlan) -> Iterator[Problem]:
    of, wanted = f"stream {plan.names.stream}", stream_config(plan)
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


def consumer_problems(found: Config, plan: StreamPlan) -> list[Problem]:
    """Say what is wrong with the consumer. Where it began is not looked at: that is over."""
    return list(_consumer_problems(found, plan))


def _consumer_problems(found: Config, plan: StreamPlan) -> Iterator[Problem]:
    of, wanted = f"consumer {plan.names.consumer}", consumer_config(plan)
    remove = f"nats consumer rm {plan.names.stream} {plan.names.consumer}, then {MIGRATE}"
    if subject := found.get("deliver_subject"):
        needed = "must not be set, since the bridge pulls"
        yield Problem(of, "deliver_subject", subject, needed, remedy=remove)
    if (policy := found.get("ack_policy", "none")) != "explicit":
        needed = "must be explicit, else events count as forwarded that are not"
        yield Problem(of, "ack_policy", policy, needed, remedy=remove)
    filters = found.get("filter_subjects") or [found.get("filter_subject") or ">"]
    if sorted(filters) != wanted["filter_subjects"]:
        change = {"filter_subject": "", "filter_subjects": wanted["filter_subjects"]}
        needed = f"must be {wanted['filter_subjects']}"
        yield Problem(of, "filter_subjects", filters, needed, change)
    if 0 < (wait := found.get("ack_wait", 0)) < wanted["ack_wait"]:
        yield _too_short(of, "ack_wait", wait, wanted)
    if (limit := found.get("max_deliver", -1)) > 0:
        needed = "must be -1, else events are given up"
        yield Problem(of, "max_deliver", limit, needed, {"max_deliver": -1})
    if 0 < (limit := found.get("max_batch", 0)) < PULL_LIMIT:
        needed = f"must be 0 or at least {PULL_LIMIT}, else the bridge is refused"
        yield Problem(of, "max_batch", limit, needed, {"max_batch": 0})
    if (limit := found.get("inactive_threshold", 0)) > 0:
        needed = "must be 0, else the consumer goes when no bridge runs"
        yield Problem(of, "inactive_threshold", _seconds(limit), needed, {"inactive_threshold": 0})
    if 0 < (replicas := found.get("num_replicas", 0)) < plan.replicas:
        needed = "must be 0 (those of the stream)"
        yield Problem(of, "num_replicas", replicas, needed, {"num_replicas": 0})


A_WRONG_STREAM = "A stream that cannot be mended"
"""The heading of docs/nats.md."""


def changes_of(problems: Iterable[Problem]) -> Config:
    """Give all changes together."""
    return {name: value for problem in problems for name, value in problem.change.items()}


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
