"""CloudWatch's alarms, as far as the catalog's alarms.yaml uses them: one evaluation a minute.

A period ends with the minute of the evaluation. What CloudWatch does with data that comes late is
left out; so is the minute that it waits for a cause to be raised too.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

ALARMS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "terraform/modules/catalog/alarms.yaml").read_text()
)
LATELY = 60
"""Minutes for which a cause silences its consequences after its end."""

Value = float | None
"""None: no data."""
Metrics = Mapping[str, list[Value]]
"""A value for each minute, by the name of the metric as `key` gives it."""


def key(metric: Mapping[str, str]) -> str:
    """Name a metric: `open`, or `Lambda Errors sync`."""
    parts = (metric.get("aws"), metric["metric"], metric.get("function") or metric.get("queue"))
    return " ".join(part for part in parts if part)


# ---- statistics and metric math ----

STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    # One value a minute.
    "SampleCount": len,
    "p99": max,
}
OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.And: lambda one, other: bool(one and other),
}


@cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(re.sub(r"\bAND\b", "and", expression), mode="eval").body


def calculated(
    expression: str, values: Mapping[str, Value], unfilled: frozenset[str] = frozenset()
) -> Value:
    """Calculate metric math for one period; without a value, whatever needs it has none.

    `unfilled`: metrics that FILL does not fill.
    """
    return _calculated(_parsed(expression), values, unfilled)


def _calculated(node: ast.AST, values: Mapping[str, Value], unfilled: frozenset[str]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.Call(func=ast.Name(id="FILL"), args=[ast.Name(id=name), filling]):
            filled = values[name] is None and name not in unfilled
            return _calculated(filling, values, unfilled) if filled else values[name]
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            parts = [_calculated(part, values, unfilled) for part in (condition, then, otherwise)]
            # No part may be without a value, also one that is not chosen.
            return None if None in parts else parts[1] if parts[0] else parts[2]
        case (
            ast.BinOp(left=left, op=op, right=right)
            | ast.Compare(left=left, ops=[op], comparators=[right])
            | ast.BoolOp(op=ast.And() as op, values=[left, right])
        ):
            sides = [_calculated(side, values, unfilled) for side in (left, right)]
            return _combined(OPERATORS[type(op)], *sides)
    raise ValueError(f"not of the metric math that is known here: {ast.dump(node)}")


def _combined(combine: Callable[[float, float], float], one: Value, other: Value) -> Value:
    if one is None or other is None:
        return None
    try:
        return float(combine(one, other))
    except ZeroDivisionError:
        return None


# ---- metric alarms ----


class Breaches:
    """Whether an alarm's threshold is breached in the period of `seconds` up to each minute.

    None: without data. `fills_empty`: whether FILL fills a metric that has no data in
    the last hour and more; AWS's documentation does not say.
    """

    def __init__(self, alarm: Mapping[str, Any], seconds: int, *, fills_empty: bool) -> None:
        self._alarm = alarm
        self._minutes = seconds // 60
        self._fills_empty = fills_empty
        self._expression = str(alarm.get("expression") or next(iter(alarm["metrics"])))
        self._known: dict[tuple[object, ...], bool | None] = {}
        self._all: list[bool | None] = []

    def evaluate(self, metrics: Metrics, minutes: int) -> None:
        """Find it out for so many minutes."""
        watched = self._alarm["metrics"]
        series = {alias: metrics[key(metric)] for alias, metric in watched.items()}
        self._all = [self._at(series, minute) for minute in range(minutes)]

    def _at(self, series: Metrics, minute: int) -> bool | None:
        values = {
            alias: self._statistic(self._alarm["metrics"][alias], data, minute)
            for alias, data in series.items()
        }
        unfilled = self._unfilled(series, minute) if None in values.values() else frozenset()
        facts = (*values.values(), unfilled)
        if facts not in self._known:
            self._known[facts] = self._breach(calculated(self._expression, values, unfilled))
        return self._known[facts]

    def last(self, minute: int, periods: int) -> list[bool | None]:
        """Give so many periods up to this minute; before the first one there was no data."""
        before = minute - self._minutes * periods
        found = self._all[minute : before if before >= 0 else None : -self._minutes]
        return found + [None] * (periods - len(found))

    def may_raise(self, missing: str) -> bool:
        """Say whether there is anything at all that an alarm could be raised by."""
        return True in self._all or (missing == "breaching" and None in self._all)

    def _statistic(self, metric: Mapping[str, str], series: list[Value], minute: int) -> Value:
        if self._minutes == 1 and metric["statistic"] != "SampleCount":
            return series[minute]
        window = series[max(0, minute + 1 - self._minutes) : minute + 1]
        data = [value for value in window if value is not None]
        return STATISTICS[metric["statistic"]](data) if data else None

    def _unfilled(self, series: Metrics, minute: int) -> frozenset[str]:
        if self._fills_empty:
            return frozenset()
        begin = max(0, minute + 1 - max(self._minutes * self._alarm["periods"], LATELY))
        return frozenset(
            alias
            for alias, data in series.items()
            if all(value is None for value in data[begin : minute + 1])
        )

    def _breach(self, value: Value) -> bool | None:
        if value is None:
            return None
        above = self._alarm.get("above")
        return bool(value < self._alarm["below"] if above is None else value > above)


@dataclass
class Signal:
    """A metric alarm: raised if in `periods` of the last `of` periods the threshold is breached."""

    breaches: Breaches
    periods: int
    of: int
    missing: str
    raised: bool = False

    def evaluate(self, minute: int) -> None:
        """Evaluate the periods up to this minute."""
        last = self.breaches.last(minute, self.of)
        breached, missing = last.count(True), last.count(None)
        if self.missing == "breaching":
            breached, missing = breached + missing, 0
        # Whether it would be raised depends on what is missing: the state stays.
        undecided = self.missing == "ignore" and breached < self.periods <= breached + missing
        self.raised = self.raised if undecided else breached >= self.periods


# ---- all alarms ----


class Watch:
    """All alarms; `told` is who was notified: minute, severity and name of each."""

    def __init__(self, alarms: Mapping[str, Any] = ALARMS, *, fills_empty: bool = True) -> None:
        self.told: list[tuple[int, str, str]] = []
        self._alarms = alarms
        self._raised: set[str] = set()
        self._breaches: list[Breaches] = []
        self._signals: dict[str, list[Signal]] = {}
        self._last_raised: dict[str, int] = {}
        for name, alarm in alarms.items():
            self._signals[name] = []
            for seconds in alarm.get("windows", [alarm.get("seconds", 60)]):
                breaches = Breaches(alarm, seconds, fills_empty=fills_empty)
                self._breaches.append(breaches)
                self._signals[name].append(_signal(alarm, breaches))

    def replay(self, metrics: Metrics, minutes: int) -> Watch:
        """Evaluate at the end of each of so many minutes; `told` grows."""
        for breaches in self._breaches:
            breaches.evaluate(metrics, minutes)
        every = chain(*self._signals.values())
        # All others are never raised.
        signals = [signal for signal in every if signal.breaches.may_raise(signal.missing)]
        for minute in range(minutes):
            for signal in signals:
                signal.evaluate(minute)
            for name, parts in self._signals.items():
                if all(signal.raised for signal in parts):
                    self._last_raised[name] = minute
            for name, alarm in self._alarms.items():
                self._notify(minute, name, alarm)
        return self

    def _raised_within(self, minutes: int, name: str, now: int) -> bool:
        return name in self._last_raised and now - self._last_raised[name] <= minutes

    def _notify(self, minute: int, name: str, alarm: Mapping[str, Any]) -> None:
        raised = self._raised_within(0, name, minute)
        causes = alarm.get("unless", ())
        if not raised or any(self._raised_within(LATELY, cause, minute) for cause in causes):
            self._raised.discard(name)
        elif name not in self._raised:
            self._raised.add(name)
            if alarm["severity"] != "none":
                self.told.append((minute, alarm["severity"], name))

    def pages(self) -> list[str]:
        """Give the pages, in the order in which they came."""
        return [name for _, severity, name in self.told if severity == "page"]

    def tickets(self) -> list[str]:
        """Give the tickets, in the order in which they came."""
        return [name for _, severity, name in self.told if severity == "ticket"]


def _signal(alarm: Mapping[str, Any], breaches: Breaches) -> Signal:
    periods = alarm["periods"]
    of = alarm.get("of", periods)
    return Signal(breaches, periods, of, alarm.get("missing", "notBreaching"))
