"""The calculator of costs: prices computed by hand, and what it says is deployed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from functions import bridge, reconcile
from tools import prices
from tools.cost import (
    ALARM_METRICS,
    BRIDGE_SECONDS,
    COMPOSITE_ALARMS,
    RECONCILE_SECONDS,
    Case,
    api_usd,
    bill,
    bridge_memory,
    data_usd,
    duration_ms,
    fixed_usd,
    gateway_usd,
    lambda_usd,
    levers,
    logs_usd,
    main,
    outage,
    per_million,
    sampled,
    scheduled_usd,
    send_batch,
    sqs_usd,
    sync_batch,
    traces_usd,
)

ROOT = Path(__file__).parents[3]
SLOW = Case(rate=1)
"""2,628,000 changes a month."""
FAST = Case(rate=1_000)


def about(usd: float) -> object:
    return pytest.approx(usd, abs=0.005)


# ---- prices ----


def test_each_tier_has_its_own_price() -> None:
    assert prices.REST_REQUEST.of(400e6) == about(333 * 3.50 + 67 * 2.80)


def test_nothing_costs_nothing() -> None:
    assert prices.REST_REQUEST.of(0) == 0


def test_a_million_runs_of_100_ms_with_1_gb() -> None:
    assert lambda_usd(1e6, 100, 1024) == about(0.20 + 100_000 * 0.0000133334)


@pytest.mark.parametrize(("memory", "expected"), [(1_769, 15.0), (3_538, 15.0), (885, 25.0)])
def test_less_memory_takes_longer_as_far_as_it_is_cpu(memory: int, expected: float) -> None:
    assert duration_ms(10, 5, memory) == pytest.approx(expected, abs=0.02)


# ---- components, at one change a second ----


def test_the_gateway_is_paid_per_request_with_its_log_and_its_answers() -> None:
    requests, logged, answered = 2.628 * 3.50, 2.628e6 * 380 / 1e9 * 0.50, 2.628e6 * 1.3e-6 * 0.09
    assert gateway_usd(SLOW) == about(requests + logged + answered)


def test_an_http_api_is_cheaper_by_the_difference_of_the_prices() -> None:
    assert gateway_usd(SLOW) - gateway_usd(replace(SLOW, api="http")) == about(2.628 * 2.50)


def test_without_a_gateway_none_is_paid() -> None:
    assert gateway_usd(replace(SLOW, api="none")) == 0


def test_a_request_with_ten_products_is_one_run_of_the_api() -> None:
    took = duration_ms(10 * 2.8, 5 + 3, 1_024)
    assert api_usd(replace(SLOW, products_per_request=10)) == about(lambda_usd(262_800, took, 1024))


def test_the_bridge_runs_82_of_each_60_seconds() -> None:
    gb_seconds = 43_800 * 82 * 256 / 1024
    assert scheduled_usd(SLOW, "bridge") == about(gb_seconds * 0.0000133334 + 0.0438 * 0.20)


def test_the_bridge_gets_the_memory_that_the_rate_needs() -> None:
    assert bridge_memory(SLOW) == SLOW.memory["bridge"]
    # 0.6 CPU seconds a second, and a third more.
    assert bridge_memory(FAST) == round(0.6 * 1_769 * 4 / 3)


@pytest.mark.parametrize(("rate", "expected"), [(1, 1.2), (20, 5), (1_000, 10)])
def test_a_poller_collects_what_comes_in_its_window_up_to_the_batch_size(
    rate: float, expected: float
) -> None:
    assert sync_batch(Case(rate=rate)) == pytest.approx(expected)


def test_full_batches_cost_three_requests_for_ten_messages() -> None:
    assert send_batch(FAST) == 10
    assert sqs_usd(FAST) == about(2_628 * 0.3 * 0.40)


def test_pollers_that_wait_for_messages_cost_requests_too() -> None:
    # A change an hour: almost nothing but the long polls of five pollers.
    assert sqs_usd(Case(rate=1 / 3600)) == about(5 * 2_628_000 / 20 * 0.4e-6)


def test_logs_are_taken_in_and_kept_for_a_year() -> None:
    gigabytes = 2.628e6 * 630 / 1e9
    assert logs_usd(SLOW) == about(gigabytes * 0.50 + 12 * gigabytes * 0.03 * 0.15)


def test_traces_are_those_of_the_first_second_and_a_share_of_the_others() -> None:
    assert sampled(50 * 2_628_000, 1, 0.05) == pytest.approx(2_628_000 * (1 + 49 * 0.05))
    assert traces_usd(SLOW) == about(2.628e6 * 0.01 * 5e-6)


def test_a_nat_gateway_is_paid_by_the_hour_and_by_the_gigabyte() -> None:
    more = data_usd(replace(SLOW, nat=True)) - data_usd(SLOW)
    assert more == about(730 * 0.045 + 2.628e6 * (1_200 + 4_000) / 1e9 * 0.045)


def test_metrics_alarms_dashboard_and_secret_cost_the_same_at_every_rate() -> None:
    alarms = 49 * 0.10 + 20 * 0.50
    assert fixed_usd(SLOW) == about(46 * 0.30 + alarms + 3 + 0.40 + 87_600 * 5e-6)
    assert fixed_usd(FAST) == fixed_usd(SLOW)


def test_a_million_changes_are_counted_without_gateway_and_what_is_given() -> None:
    given = replace(SLOW, mongodb_month=57.0, nats_month=49.0)
    made = bill(given)
    assert made["MongoDB (given)"] == 57.0
    assert per_million(given, made) == per_million(SLOW, bill(SLOW))
    rest = sum(made.values()) - made["API Gateway"] - 57 - 49
    assert per_million(given, made) == pytest.approx(rest / 2.628)


def test_containers_have_a_load_balancer_and_no_lambda() -> None:
    names = bill(replace(FAST, host="containers"))
    assert {"load balancer", "Fargate", "SQS"} <= set(names)
    assert not [name for name in names if "Lambda" in name or "Gateway" in name]


def test_each_lever_changes_the_bill() -> None:
    totals = {name: sum(bill(case).values()) for name, case in levers(Case()).items()}
    assert [name for name in totals if totals[name] == totals["as deployed"]] == ["as deployed"]


# ---- an outage ----


def test_an_outage_has_a_probe_every_two_seconds_and_the_time_of_its_call() -> None:
    refused, hanging = outage(SLOW, 0), outage(SLOW, 10_000)
    assert (refused.probes, hanging.probes) == (43_200, 7_200)
    assert refused.waiting == hanging.waiting == 86_400


def test_an_outage_costs_what_is_parked_and_its_probes() -> None:
    refused, hanging = outage(SLOW, 0), outage(SLOW, 10_000)
    # A probe that times out takes ten seconds of half a GB, but there are fewer of them.
    assert hanging.usd > refused.usd
    # Ten messages are received, deleted and enqueued by a request each.
    assert outage(FAST, 0).usd - refused.usd > 86_400_000 * 0.3 * 0.4e-6


# ---- the command ----


def test_the_command_prices_what_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--rate 5 --api http --memory api=512 --cpu sync=1.5 --log-bytes 300 --batch 10 --json"
    )

    assert main(options.split()) == 0

    (made,) = json.loads(capsys.readouterr().out)
    case = made["case"]
    assert (case["rate"], case["api"], case["products_per_request"]) == (5, "http", 10)
    assert (case["memory"]["api"], case["memory"]["sync"]) == (512, 512)
    assert (case["measured"]["sync"], case["measured"]["log_bytes"]) == ([1.5, 1.5], [300, 300])
    assert made["usdPerMillionWithoutGateway"] > 0


def test_the_document_has_the_tables_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    text = (ROOT / "docs" / "cost.md").read_text()
    assert [
        part for part in capsys.readouterr().out.strip().split("\n\n") if part not in text
    ] == []


# ---- what is deployed ----

ALARMS = yaml.safe_load((ROOT / "terraform/modules/catalog/alarms.yaml").read_text())
VARIABLES = (ROOT / "terraform/modules/catalog/variables.tf").read_text()


def default(pattern: str) -> float:
    """The number that a pattern finds in variables.tf."""
    (found,) = re.findall(pattern, VARIABLES)
    return float(found)


@pytest.mark.parametrize("role", ["api", "bridge", "sync", "reconcile"])
def test_functions_have_the_memory_that_terraform_gives_them(role: str) -> None:
    memory = default(rf"\n    {role} +=.* memory = optional\(number, (\d+)\)")
    assert Case().memory[role] == memory


def test_reconcile_runs_for_as_long_as_terraform_lets_it_during_an_outage() -> None:
    timeout = default(r"\n    reconcile +=.* timeout = optional\(number, (\d+)\)")
    assert timeout - reconcile.RESERVE_SECONDS == RECONCILE_SECONDS


def test_the_bridge_runs_for_as_long_as_terraform_lets_it() -> None:
    timeout = default(r"\n    bridge +=.* timeout = optional\(number, (\d+)\)")
    assert timeout - bridge.RESERVE_SECONDS == BRIDGE_SECONDS


def test_batches_traces_and_logs_are_those_of_terraform() -> None:
    case = Case()
    assert case.sync_batch == default(r"batch_size +=.*\(number, (\d+)\)")
    assert case.window_seconds == default(r"batch_window_seconds +=.*\(number, (\d+)\)")
    assert case.traced == default(r"per_second = .*\n    share +=.*\(number, ([\d.]+)\)")
    assert case.traced_per_second == default(r"\n    per_second +=.*\(number, (\d+)\)")
    assert 'optional(string, "PassThrough")' in VARIABLES
    assert not case.functions_traced
    assert re.search(r'"system_log_level" \{[^}]*default     = "WARN"', VARIABLES)
    assert not case.system_logs


def test_alarms_are_those_that_terraform_makes() -> None:
    composite = [
        alarm
        for alarm in ALARMS.values()
        if alarm.get("unless") or len(alarm.get("windows", ())) > 1
    ]
    # Several causes of one alarm are another composite alarm.
    causes = [alarm for alarm in ALARMS.values() if len(alarm.get("unless", ())) > 1]
    metrics = sum(
        len(alarm["metrics"]) * len(alarm.get("windows", [60])) for alarm in ALARMS.values()
    )
    assert (len(composite) + len(causes), metrics) == (COMPOSITE_ALARMS, ALARM_METRICS)
