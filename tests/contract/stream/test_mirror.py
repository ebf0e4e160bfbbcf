"""The region of the stream is lost, and another one has a mirror: docs/disaster.md."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.jetstream import JetStream
from chalicelib.domain.errors import StreamNotMigratedError, StreamUnavailableError
from tests.contract.stream.steps import an_event, event_ids, pulled, works
from tests.mirror import PATIENCE, TwoRegions
from tests.support import eventually, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.embedded("nats", "servers of two regions, of which a test kills one")


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[TwoRegions]:
    made = TwoRegions(tmp_path / "nats")
    with stopped_for_sure(made):
        made.start()
        yield made


@pytest.fixture
def stream_in(regions: TwoRegions) -> Iterator[Callable[[str], JetStream]]:
    """The catalog's adapter on the server of a region."""
    opened: list[JetStream] = []

    def open_in(region: str) -> JetStream:
        opened.append(JetStream(regions.url(region)))
        return opened[-1]

    yield open_in
    for stream in opened:
        stream.close()


def test_a_mirror_becomes_the_stream_and_has_all_that_the_lost_region_had(
    regions: TwoRegions, stream_in: Callable[[str], JetStream]
) -> None:
    events = [an_event() for _ in range(20)]
    before = stream_in("first")
    before.publish(events[:10])
    regions.make_mirror()
    before.publish(events[10:])
    begun = time.monotonic()
    regions.wait_for_the_mirror()
    print(f"\nbehind for {time.monotonic() - begun:.2f} s at most")

    # A mirror takes no events, and the migration leaves it as it is.
    after = stream_in("second")
    with pytest.raises(StreamUnavailableError):
        after.publish([an_event()])
    with pytest.raises(StreamNotMigratedError, match="mirror is PRODUCTS, must not be set"):
        after.ping()
    done, left = eventually(lambda: works(lambda: list(after.migrate())), PATIENCE)
    assert done in ([], ["made the consumer sync-bridge"])
    assert ["The region is lost" in line for line in left] == [True]

    regions.kill("first")
    regions.promote()
    done, left = after.migrate()
    assert {line.split()[1] for line in done} == {"discard", "duplicate_window"}
    assert left == []
    new = an_event()
    assert after.publish([new]) == [new]
    everything = [event.id for event in [*events, new]]
    assert event_ids(after.read(0, 100).messages) == everything
    assert event_ids(pulled(after, 21)) == everything


def test_a_region_that_is_back_does_not_mix_its_events_with_those_of_the_new_one(
    regions: TwoRegions, stream_in: Callable[[str], JetStream]
) -> None:
    old = stream_in("first")
    old.publish([an_event()])
    regions.make_mirror()
    regions.wait_for_the_mirror()
    regions.kill("first")
    regions.promote()

    regions.start()
    new = stream_in("second")
    regions.wait_for_the_link()
    eventually(lambda: works(lambda: old.publish([an_event(), an_event()])), PATIENCE)
    new.publish([an_event()])

    # The answer comes over the same link, after what was published.
    assert (regions.last_over_the_link(), regions.last("second")) == (3, 2)
