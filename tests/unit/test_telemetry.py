"""Logs, metrics and traces: what comes out on stdout, and what does not."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import simplejson

from chalicelib import telemetry
from chalicelib.metrics import METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Json


class Recorder:
    """X-Ray's recorder, as far as it is used."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def in_subsegment(self, name: str) -> Iterator[None]:
        self.events.append(f"begin {name}")
        try:
            yield
        finally:
            self.events.append(f"end {name}")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr("aws_xray_sdk.core.xray_recorder", made)
    return made


def in_threads(work: Callable[[str], None], names: list[str]) -> None:
    """Do the work for each name in a thread of its own."""
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def printed(capsys: pytest.CaptureFixture[str]) -> list[Json]:
    return [simplejson.loads(line) for line in capsys.readouterr().out.splitlines()]


# ---- metrics ----

COUNTERS = sorted(name for name, metric in METRICS.items() if metric.kind is Kind.COUNTER)[:8]


def test_a_counter_can_be_written_before_anything_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    telemetry.start("failed")

    assert json.loads(capsys.readouterr().out)["failed"] == 0


def test_a_metric_is_one_line_in_the_embedded_metric_format(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = time.time() * 1000
    telemetry.count(enqueued=3, failed=1)
    (line,) = printed(capsys)
    described = line["_aws"]
    assert before - 1 <= described["Timestamp"] <= time.time() * 1000
    assert described["CloudWatchMetrics"] == [
        {
            "Namespace": "ProductCatalog",
            "Dimensions": [["service"]],
            "Metrics": [
                {"Name": "enqueued", "Unit": "Count"},
                {"Name": "failed", "Unit": "Count"},
            ],
        }
    ]
    assert (line["service"], line["enqueued"], line["failed"]) == ("product-catalog", 3, 1)


def test_a_counter_of_zero_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count(enqueued=0, failed=2)
    (line,) = printed(capsys)
    assert "enqueued" not in line
    assert [metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]] == [
        "failed"
    ]


def test_nothing_is_printed_for_no_metric(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count()
    telemetry.count(enqueued=0)
    telemetry.gauge()
    telemetry.measure_seconds()
    assert capsys.readouterr().out == ""


def test_a_level_of_zero_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.gauge(outbox_backlog=0)
    (line,) = printed(capsys)
    assert line["outbox_backlog"] == 0


def test_a_duration_is_in_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_seconds(delivery_lag=1.25)
    (line,) = printed(capsys)
    assert line["delivery_lag"] == 1.25
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [
        {"Name": "delivery_lag", "Unit": "Seconds"}
    ]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("outbox_backlog", "Count"),
        ("oldest_undelivered_seconds", "Seconds"),
        ("stream_bytes", "Bytes"),
    ],
)
def test_a_gauge_has_the_unit_of_its_definition(
    capsys: pytest.CaptureFixture[str], name: str, unit: str
) -> None:
    telemetry.gauge(**{name: 7})
    (line,) = printed(capsys)
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": name, "Unit": unit}]


def test_of_a_gauge_the_last_value_of_a_batch_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with telemetry.batch():
        telemetry.gauge(outbox_backlog=3)
        telemetry.gauge(outbox_backlog=2)
    (line,) = printed(capsys)
    assert line["outbox_backlog"] == 2


@pytest.mark.parametrize(
    "emit",
    [
        lambda: telemetry.count(no_such_metric=1),
        lambda: telemetry.gauge(failed=1),
        lambda: telemetry.measure_seconds(oldest_stuck_seconds=1),
    ],
)
def test_a_metric_that_is_not_defined_so_is_an_error_in_tests(emit: Callable[[], None]) -> None:
    with pytest.raises(ValueError, match="is not defined as a"):
        emit()


def test_elsewhere_a_metric_that_is_not_defined_is_logged_once_and_stops_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "strict", False)
    telemetry.count(never_defined=1, failed=1)
    telemetry.count(never_defined=1, failed=1)
    refusal, *lines = printed(capsys)
    assert (refusal["level"], refusal["message"]) == ("ERROR", "a metric is left out")
    assert "never_defined" in refusal["reason"]
    assert [(line["failed"], "never_defined" in line) for line in lines] == [(1, False)] * 2


def test_with_an_exporter_metrics_are_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    got: list[telemetry.Sample] = []
    telemetry.export_to(got.extend)
    with telemetry.batch():
        telemetry.count(failed=1)
        telemetry.measure_seconds(delivery_lag=0.5)
    assert got == [(METRICS["failed"], 1), (METRICS["delivery_lag"], 0.5)]
    assert capsys.readouterr().out == ""


def test_the_namespace_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="INFO", tracing=False, namespace="Staging")
    telemetry.count(enqueued=1)
    (line,) = printed(capsys)
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Staging"


def test_a_metric_does_not_carry_over_into_the_next_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    telemetry.count(enqueued=1)
    telemetry.count(failed=1)
    assert ["enqueued" in line for line in printed(capsys)] == [True, False]


def test_the_metrics_of_parallel_threads_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    def count(name: str) -> None:
        for number in range(1, 51):
            telemetry.count(**{name: number})

    in_threads(count, COUNTERS)
    lines = printed(capsys)
    assert len(lines) == 400
    for line in lines:
        assert len(line["_aws"]["CloudWatchMetrics"][0]["Metrics"]) == 1


def test_a_batch_is_one_line_with_sums_and_all_durations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with telemetry.batch():
        telemetry.count(failed=1, superseded=2)
        telemetry.measure_seconds(delivery_lag=0.5)
        telemetry.count(failed=2)
        telemetry.measure_seconds(delivery_lag=1.5)
        assert capsys.readouterr().out == ""
    (line,) = printed(capsys)
    assert (line["failed"], line["superseded"]) == (3, 2)
    assert line["delivery_lag"] == [0.5, 1.5]


def test_a_batch_without_metrics_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with telemetry.batch():
        telemetry.count(failed=0)
    assert capsys.readouterr().out == ""


def test_a_batch_that_raises_writes_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    @telemetry.batch()
    def invoke() -> None:
        telemetry.count(failed=1)
        raise RuntimeError("kaboom")

    with pytest.raises(RuntimeError, match="kaboom"):
        invoke()
    (line,) = printed(capsys)
    assert line["failed"] == 1


def test_after_a_batch_metrics_are_written_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with telemetry.batch():
        telemetry.count(failed=1)
    telemetry.count(failed=2)
    assert [line["failed"] for line in printed(capsys)] == [1, 2]


def test_a_line_has_no_more_values_of_a_metric_than_cloudwatch_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with telemetry.batch():
        telemetry.count(failed=1)
        for number in range(250):
            telemetry.measure_seconds(delivery_lag=number)
    first, *others = printed(capsys)
    lags = [line["delivery_lag"] for line in (first, *others)]
    assert [len(lag) for lag in lags] == [100, 100, 50]
    assert [value for lag in lags for value in lag] == list(range(250))
    assert first["failed"] == 1
    assert not any("failed" in line for line in others)


def test_the_batches_of_parallel_threads_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    together = threading.Barrier(8)

    def invoke(name: str) -> None:
        with telemetry.batch():
            together.wait(10)
            for _ in range(50):
                telemetry.count(**{name: 1})
            together.wait(10)

    in_threads(invoke, COUNTERS)
    found = [
        {name: value for name, value in line.items() if name in COUNTERS}
        for line in printed(capsys)
    ]
    assert sorted(found, key=str) == [{name: 50} for name in COUNTERS]


# ---- logs ----


def test_a_log_line_is_json_with_the_given_fields(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="INFO", tracing=False)
    telemetry.log.info("attempt", product_id="p-1", version=3, seconds=0.25)
    line = simplejson.loads(capsys.readouterr().out)
    del line["timestamp"]
    assert line == {
        "level": "INFO",
        "message": "attempt",
        "product_id": "p-1",
        "version": 3,
        "seconds": 0.25,
    }


def test_a_field_without_a_value_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.log.info("attempt", trace=None, attempt=0, counted=False)
    line = simplejson.loads(capsys.readouterr().out)
    assert "trace" not in line
    assert (line["attempt"], line["counted"]) == (0, False)


@pytest.mark.parametrize("text", ["Käse, 乳, 🧀", "\ud800 alone", "two\nlines\r\u2028", '"\\'])
def test_any_text_comes_back_as_it_was_from_one_line(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    telemetry.log.info("refused", reason=text)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["reason"] == text


def test_what_json_does_not_know_is_logged_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.log.info("odd", reason=ValueError("kaboom"))
    assert json.loads(capsys.readouterr().out)["reason"] == "kaboom"


def test_a_line_that_cannot_be_written_stops_no_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    telemetry.log.info("lost")
    assert "Logging error" in capsys.readouterr().err


def test_a_field_of_one_line_is_not_in_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="INFO", tracing=False)
    telemetry.log.info("one", product_id="p-1")
    telemetry.log.info("two")
    assert "product_id" not in simplejson.loads(capsys.readouterr().out.splitlines()[1])


def test_an_exception_is_logged_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="INFO", tracing=False)
    try:
        int("kaboom")
    except ValueError:
        telemetry.log.exception("unexpected error")
    (line,) = map(simplejson.loads, capsys.readouterr().out.splitlines())
    assert line["exception_name"] == "ValueError"
    assert "kaboom" in line["exception"]


@pytest.mark.parametrize(("level", "expected"), [("WARNING", 1), ("DEBUG", 3), ("CRITICAL", 0)])
def test_the_level_is_a_setting(
    capsys: pytest.CaptureFixture[str], level: str, expected: int
) -> None:
    telemetry.configure(level=level, tracing=False)
    telemetry.log.debug("a")
    telemetry.log.info("b")
    telemetry.log.warning("c")
    assert len(capsys.readouterr().out.splitlines()) == expected


# ---- traces ----


def test_without_xray_a_segment_is_nothing(recorder: Recorder) -> None:
    telemetry.configure(level="INFO", tracing=False)
    with telemetry.segment("claim"):
        recorder.events.append("work")
    assert recorder.events == ["work"]


def test_with_xray_a_segment_is_a_subsegment_around_the_work(recorder: Recorder) -> None:
    telemetry.configure(level="INFO", tracing=True)
    with telemetry.segment("claim"):
        recorder.events.append("work")
    assert recorder.events == ["begin claim", "work", "end claim"]


@pytest.mark.parametrize("tracing", [True, False])
@pytest.mark.usefixtures("recorder")
def test_an_error_passes_through_a_segment(*, tracing: bool) -> None:
    telemetry.configure(level="INFO", tracing=tracing)
    with pytest.raises(RuntimeError, match="kaboom"), telemetry.segment("claim"):
        raise RuntimeError("kaboom")


def test_a_new_trace_is_an_xray_header_of_now() -> None:
    found = re.fullmatch(r"Root=1-([0-9a-f]{8})-[0-9a-f]{24}", telemetry.new_trace())
    assert found is not None
    assert abs(int(found[1], 16) - time.time()) < 5


def test_no_two_traces_are_the_same() -> None:
    assert len({telemetry.new_trace() for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["botocore.parsers", "urllib3.connectionpool", "pymongo.command"])
def test_libraries_never_log_what_they_send_and_receive(name: str) -> None:
    # As Lambda's runtime does, by the level that it is configured with.
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    finally:
        logging.getLogger().setLevel(before)


def test_the_time_of_a_line_is_rfc_3339(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.log.info("a line")
    (line,) = printed(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert abs(datetime.fromisoformat(line["timestamp"]).timestamp() - time.time()) < 5
