"""The arithmetic of the benchmarks, on a clock that the ways themselves move."""

from __future__ import annotations

from embedded.bench import ROUNDS, Pair, compare, table


class Ways:
    """Two ways of which each takes a known time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def clock(self) -> float:
        return self.now

    def ours(self) -> None:
        self.order.append("ours")
        # The first run of anything is slow.
        self.now += 1.0 if len(self.order) > 2 else 50.0

    def other(self) -> None:
        self.order.append("other")
        self.now += 4.0

    def pair(self) -> Pair:
        return Pair("wait", ("ours", self.ours), ("other", self.other), self.prepare, items=10)

    def prepare(self) -> None:
        self.now += 1000.0


def test_the_ratio_is_our_time_by_the_other_s_without_warming_up_and_preparing() -> None:
    ways = Ways()
    ratio = compare(ways.pair(), ways.clock)
    assert (ratio.median, ratio.low, ratio.high) == (0.25, 0.25, 0.25)
    assert (ratio.ours, ratio.other) == (100.0, 400.0)


def test_each_way_goes_first_in_every_other_round() -> None:
    ways = Ways()
    compare(ways.pair(), ways.clock)
    firsts = ways.order[::2]
    assert len(firsts) == ROUNDS + 1
    assert firsts.count("ours") == firsts.count("other")


def test_the_table_has_a_line_for_each_pair() -> None:
    *_, line = table([Pair("nothing", ("a", lambda: None), ("b", lambda: None))])
    assert line.startswith("nothing")
