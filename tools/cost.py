"""What product changes cost on AWS, at list prices (tools/prices.py).

    python -m tools.cost                                   the tables of docs/cost.md
    python -m tools.cost --rate 50 --api http --memory bridge=512 --json

A change is one write of a product and its delivery at the first attempt. The prices are public.
Durations are computed from CPU time that was measured on a developer's machine (`Measured`) and
from network waits that are assumed (`Waits`). Lambda's CPU share grows with memory: 1,769 MB are
one vCPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chalicelib.settings import Settings
from chalicelib.usecases.bridge import gathering
from tools import prices

RATES = (1.0, 50.0, 1_000.0)
SECONDS = 730 * 3600.0
"""Of a month."""
MINUTES = SECONDS / 60
VCPU_MB = 1_769
GB = 1e9
METRIC_NAMES = 46
"""Metrics of our own. Most are written only when they are not zero."""
ALARM_METRICS = 49
"""An alarm is paid by the metrics that it watches."""
COMPOSITE_ALARMS = 20
POLLERS = 5
"""Of an event source mapping that has a maximum concurrency."""
RECONCILE_SECONDS = 40
"""Seconds of each minute that reconcile runs during an outage, since it does a step a second."""
BRIDGE_SECONDS = 82
"""Seconds that a run of the bridge lasts; one starts each minute. 90 s less its reserve."""


@dataclass(frozen=True)
class Measured:
    """CPU in ms and log bytes per product: x86_64, 2 shared cores, embedded stack.

    One pair each: at 50 products/s, and in a burst, where batches are full. Those of api and
    bridge are of the container host. That of sync is the handler's alone, for one message and for
    ten, since Lambda receives and deletes the messages itself.
    """

    api: tuple[float, float] = (2.8, 2.0)
    bridge: tuple[float, float] = (2.6, 0.6)
    sync: tuple[float, float] = (2.2, 1.1)
    log_bytes: tuple[float, float] = (630.0, 390.0)
    """tests/unit/test_log_bytes.py counts them."""
    message_bytes: float = 150.0
    access_log_bytes: float = 380.0
    system_log_bytes: float = 700.0
    """Lambda's own lines about one run, at the level INFO."""


@dataclass(frozen=True)
class Waits:
    """Milliseconds of waiting on the network, in one region. Assumed, not measured."""

    write: float = 5.0
    read: float = 2.0
    publish: float = 3.0
    supply_chain: float = 60.0
    bridge_round: float = 20.0
    """Of a round of the bridge, without the pause after it."""


@dataclass(frozen=True)
class Case:
    """What is deployed, and how much it has to do."""

    rate: float = 50.0
    """Product changes per second, all month long."""
    host: str = "lambda"
    """Or `containers`: all roles on Fargate, behind a load balancer."""
    api: str = "rest"
    """Or `http`; or `none`, to leave the gateway out of the sum."""
    products_per_request: int = 1
    memory: dict[str, int] = field(
        default_factory=lambda: {"api": 1024, "bridge": 256, "sync": 512, "reconcile": 512}
    )
    sync_batch: int = 10
    window_seconds: float = 1.0
    system_logs: bool = False
    log_months: float = 12.0
    traced: float = 0.01
    traced_per_second: float = 0.0
    functions_traced: bool = False
    """Whether functions also record runs of their own: one per second, and 5 % of the others."""
    product_bytes: float = 500.0
    nat: bool = False
    mongodb_month: float = 0.0
    nats_month: float = 0.0
    measured: Measured = Measured()
    waits: Waits = Waits()

    @property
    def changes(self) -> float:
        """Of a month."""
        return self.rate * SECONDS

    def per_product(self, name: str) -> float:
        """Give one of the pairs that were measured: CPU in ms of a role, or `log_bytes`."""
        alone, together = getattr(self.measured, name)
        return float(alone if self.rate <= 50 else together)


Bill = dict[str, float]
"""USD a month, by component."""


def duration_ms(cpu_ms: float, wait_ms: float, memory: int) -> float:
    """How long one run of a function takes."""
    return cpu_ms / min(1.0, memory / VCPU_MB) + wait_ms


def lambda_usd(runs: float, milliseconds: float, memory: int) -> float:
    """The price of so many runs of a function in a month."""
    gb_seconds = runs * milliseconds / 1000 * memory / 1024
    return prices.LAMBDA_REQUEST.of(runs) + prices.LAMBDA_GB_SECOND.of(gb_seconds)


def sync_batch(case: Case) -> float:
    """The mean number of messages in one run of sync: what a poller collects in its window."""
    return min(float(case.sync_batch), 1 + case.rate * case.window_seconds / POLLERS)


def send_batch(case: Case) -> float:
    """The mean number of messages that the bridge sends at a time."""
    events = 1.0
    # Those of a round have come during the one before, whose pause is longer the more it had.
    for _ in range(100):
        events = max(1.0, case.rate * (case.waits.bridge_round / 1000 + gathering(events)))
    return min(10.0, events)


def bridge_memory(case: Case) -> int:
    """Megabytes: as set, or as the rate needs if that is more. A quarter is left for bursts."""
    return max(
        case.memory["bridge"],
        round(case.rate * case.per_product("bridge") / 1000 * VCPU_MB * 4 / 3),
    )


def api_runs(case: Case) -> float:
    """Requests to the API in a month."""
    return case.changes / case.products_per_request


def sync_runs(case: Case) -> float:
    """Batches of messages in a month."""
    return case.changes / sync_batch(case)


def api_usd(case: Case) -> float:
    """Lambda: the API. A batch writes its products at once, and publishes their events at once."""
    cpu = case.per_product("api") * case.products_per_request
    wait = case.waits.write + case.waits.publish
    return lambda_usd(
        api_runs(case), duration_ms(cpu, wait, case.memory["api"]), case.memory["api"]
    )


def sync_usd(case: Case) -> float:
    """Lambda: sync. Find, claim, calls in parallel, sync-complete, result."""
    wait = case.waits.read + 2 * case.waits.write + case.waits.supply_chain + case.waits.publish
    took = duration_ms(case.per_product("sync") * sync_batch(case), wait, case.memory["sync"])
    return lambda_usd(sync_runs(case), took, case.memory["sync"])


def scheduled_usd(case: Case, role: str) -> float:
    """Lambda: what runs every minute; EventBridge's rules are free of charge."""
    seconds, memory = {
        "bridge": (float(BRIDGE_SECONDS), bridge_memory(case)),
        "reconcile": (0.5, case.memory["reconcile"]),
    }[role]
    return lambda_usd(MINUTES, 1000 * seconds, memory)


def sqs_usd(case: Case) -> float:
    """Send, receive, delete, and receives of pollers that find nothing for 20 s.

    A busy poller finds something. One request has at most 64 KB of payload.
    """
    send = case.changes / send_batch(case)
    chunks = max(1.0, sync_batch(case) * case.measured.message_bytes / 64_000)
    receives = sync_runs(case) * max(chunks, sync_batch(case) / 10)
    deletes = sync_runs(case) * max(1.0, sync_batch(case) / 10)
    idle = max(0.0, POLLERS * SECONDS / 20 - sync_runs(case))
    return prices.SQS_REQUEST.of(send + receives + deletes + idle)


def logs_usd(case: Case) -> float:
    """Ingestion, and storage for as long as they are kept."""
    gigabytes = case.changes * case.per_product("log_bytes") / GB
    if case.system_logs and case.host == "lambda":
        runs = api_runs(case) + sync_runs(case) + 2 * MINUTES
        gigabytes += runs * case.measured.system_log_bytes / GB
    return prices.LOGS_GB.of(gigabytes) + prices.LOGS_STORED_GB.of(gigabytes * case.log_months)


def gateway_usd(case: Case) -> float:
    """API Gateway: requests, its access log, the answers."""
    if case.api == "none":
        return 0.0
    price = prices.REST_REQUEST if case.api == "rest" else prices.HTTP_REQUEST
    logged = api_runs(case) * case.measured.access_log_bytes / GB
    return price.of(api_runs(case)) + prices.ACCESS_LOGS_GB.of(logged) + answers_usd(case)


def answers_usd(case: Case) -> float:
    """Data out: a stored product, and 800 bytes of headers for each request."""
    answered = case.changes * case.product_bytes + api_runs(case) * 800
    return prices.INTERNET_GB.of(answered / GB)


def traces_usd(case: Case) -> float:
    """X-Ray: what the sampling rule takes of the requests; and of runs, if they are traced."""
    traces = sampled(api_runs(case), case.traced_per_second, case.traced)
    if case.functions_traced:
        traces += sampled(sync_runs(case), 1, 0.05) + 2 * MINUTES
    return prices.TRACE.of(traces)


def sampled(runs: float, per_second: float, share: float) -> float:
    """How many of a month's runs are recorded: so many per second, and a share of the others."""
    fixed = min(runs, per_second * SECONDS)
    return fixed + (runs - fixed) * share


def data_usd(case: Case) -> float:
    """Calls to the supply chain over the internet; MongoDB and NATS in the same region."""
    calls = case.changes * (case.product_bytes + 700) / GB
    within = case.changes * (2 * case.product_bytes + 3_000) / GB
    usd = prices.INTERNET_GB.of(calls) + prices.REGION_GB.of(within)
    if case.nat:
        usd += prices.NAT_HOUR.of(SECONDS / 3600) + prices.NAT_GB.of(calls + within)
    return usd


def fixed_usd(case: Case) -> float:
    """Metrics, alarms, dashboard, secret: the same at every rate."""
    del case
    reads = 4 * SECONDS / 120
    alarms = prices.ALARM.of(ALARM_METRICS) + prices.COMPOSITE_ALARM.of(COMPOSITE_ALARMS)
    observed = prices.METRIC.of(METRIC_NAMES) + alarms + prices.DASHBOARD.of(1)
    return observed + prices.SECRET.of(1) + prices.SECRET_READ.of(reads)


def containers_usd(case: Case) -> float:
    """Fargate: twice the CPU that is used on average, six tasks of 0.25 vCPU at least."""
    used = case.rate * sum(case.per_product(role) for role in ("api", "bridge", "sync")) / 1000
    vcpus = max(6 * 0.25, 2 * used)
    hours = SECONDS / 3600
    return prices.FARGATE_VCPU_HOUR.of(vcpus * hours) + prices.FARGATE_GB_HOUR.of(vcpus * 2 * hours)


def balancer_usd(case: Case) -> float:
    """A load balancer: one capacity unit is 1 GB an hour; what it sends; its access log in S3."""
    gigabytes = (case.changes * 2 * case.product_bytes + api_runs(case) * 1_600) / GB
    hours = SECONDS / 3600
    units = max(hours, gigabytes)
    return prices.BALANCER_HOUR.of(hours) + prices.BALANCER_LCU_HOUR.of(units) + answers_usd(case)


COMPUTE: dict[str, dict[str, Callable[[Case], float]]] = {
    "lambda": {
        "API Gateway": gateway_usd,
        "Lambda api": api_usd,
        "Lambda bridge": lambda case: scheduled_usd(case, "bridge"),
        "Lambda sync": sync_usd,
        "Lambda reconcile": lambda case: scheduled_usd(case, "reconcile"),
        "X-Ray": traces_usd,
    },
    "containers": {"load balancer": balancer_usd, "Fargate": containers_usd},
}
SHARED: dict[str, Callable[[Case], float]] = {
    "SQS": sqs_usd,
    "logs": logs_usd,
    "data": data_usd,
    "metrics, alarms, secret": fixed_usd,
    "MongoDB (given)": lambda case: case.mongodb_month,
    "NATS (given)": lambda case: case.nats_month,
}


def bill(case: Case) -> Bill:
    """Give the USD of a month, by component."""
    return {name: price(case) for name, price in (COMPUTE[case.host] | SHARED).items()}


def per_million(case: Case, bills: Bill) -> float:
    """USD per million changes, without API Gateway and what is given."""
    outside = {"API Gateway", "MongoDB (given)", "NATS (given)"}
    return sum(usd for name, usd in bills.items() if name not in outside) / case.changes * 1e6


# ---- an outage of the supply chain ----


@dataclass(frozen=True)
class Outage:
    """A day without the supply chain: products that wait, probes, USD more than without it."""

    waiting: float
    probes: float
    usd: float


def outage(case: Case, call_ms: float, seconds: float = 86_400.0) -> Outage:
    """Price a day on which all changed products are different ones, and its catching up.

    `call_ms`: how long a probe takes to fail; 10,000 is the timeout.
    """
    every = Settings.model_fields["breaker_probe"].default + call_ms / 1000
    waiting, probes = case.rate * seconds, seconds / every
    reconcile = seconds * RECONCILE_SECONDS / 60 * case.memory["reconcile"] / 1024
    usd = parked_usd(case, waiting) + probes_usd(case, probes, call_ms)
    return Outage(waiting, probes, usd + prices.LAMBDA_GB_SECOND.of(reconcile))


def parked_usd(case: Case, products: float) -> float:
    """Give what parked products cost: a run of sync more, and afterwards a message more."""
    size, memory = sync_batch(case), case.memory["sync"]
    wait = case.waits.read + case.waits.write
    took = duration_ms(case.per_product("sync") * size, wait, memory)
    # A batch is received and deleted; ten messages are enqueued at a time.
    requests = 2 * products / size + products / 10
    return lambda_usd(products / size, took, memory) + prices.SQS_REQUEST.of(requests)


def probes_usd(case: Case, probes: float, call_ms: float) -> float:
    """Give what probes cost that fail: a run and a message each, and 800 bytes of log."""
    memory = case.memory["sync"]
    wait = case.waits.read + 2 * case.waits.write + call_ms
    took = duration_ms(case.per_product("sync"), wait, memory)
    usd = lambda_usd(probes, took, memory) + prices.SQS_REQUEST.of(3 * probes)
    usd += prices.LOGS_GB.of(probes * 800 / GB)
    return usd + prices.INTERNET_GB.of(probes * (case.product_bytes + 700) / GB)


# ---- the tables ----


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row(*("---" for _ in cells))]


def _usd(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 100 else f"{amount:,.0f}"


def table(cases: Sequence[Case]) -> str:
    """Give one column per case: USD a month by component, and the sum."""
    bills = [bill(case) for case in cases]
    names = [name for name in bills[0] if any(made[name] for made in bills)]
    rows = [_row(name, *(_usd(made[name]) for made in bills)) for name in names]
    rows.append(_row("**a month**", *(_usd(sum(made.values())) for made in bills)))
    whole = [
        sum(made.values()) / case.changes * 1e6 for case, made in zip(cases, bills, strict=True)
    ]
    rows.append(_row("per million changes", *map(_usd, whole)))
    bare = [per_million(case, made) for case, made in zip(cases, bills, strict=True)]
    rows.append(_row("… without API Gateway", *map(_usd, bare)))
    return "\n".join(_head("USD", *(f"{case.rate:g}/s" for case in cases)) + rows)


SIZES = {"api": 512, "bridge": 512, "sync": 1024}
"""Other sizes of functions than those that are deployed."""


def levers(case: Case) -> dict[str, Case]:
    """Name each setting that trades latency or convenience for cost, and the case that has it."""
    with_memory = {role: case.memory | {role: size} for role, size in SIZES.items()}
    return {
        "as deployed": case,
        "HTTP API": replace(case, api="http"),
        "100 products a request": replace(case, products_per_request=100),
        "api with 512 MB": replace(case, memory=with_memory["api"]),
        "bridge with 512 MB": replace(case, memory=with_memory["bridge"]),
        "sync with 1,024 MB": replace(case, memory=with_memory["sync"]),
        "sync: window 0 s": replace(case, window_seconds=0),
        "sync: batches of 50, window 5 s": replace(case, sync_batch=50, window_seconds=5),
        "half the log bytes": half_logged(case),
        "Lambda's own lines (INFO)": replace(case, system_logs=True),
        "X-Ray's default sampling": replace(
            case, traced=0.05, traced_per_second=1, functions_traced=True
        ),
        "VPC with a NAT gateway": replace(case, nat=True),
        "containers": replace(case, host="containers"),
    }


def half_logged(case: Case) -> Case:
    """Give the same with half the log bytes per product."""
    alone, together = case.measured.log_bytes
    return replace(case, measured=replace(case.measured, log_bytes=(alone / 2, together / 2)))


def lever_table(cases: Sequence[Case]) -> str:
    """Give for each lever the difference in USD a month to what is deployed."""
    totals = [
        {name: sum(bill(changed).values()) for name, changed in levers(case).items()}
        for case in cases
    ]
    rows = [
        _row(name, *(f"{made[name] - made['as deployed']:+,.2f}" for made in totals))
        for name in list(totals[0])[1:]
    ]
    return "\n".join(_head("USD a month", *(f"{case.rate:g}/s" for case in cases)) + rows)


def steps(case: Case) -> dict[str, Case]:
    """Name what brings a delivery below 1 USD per million, one step on top of the other."""
    quiet = half_logged(case)
    together = replace(quiet, sync_batch=50, window_seconds=5)
    small = replace(together, memory=case.memory | {"api": SIZES["api"]})
    return {
        "as deployed": case,
        "half the log bytes": quiet,
        "… and sync: batches of 50, window 5 s": together,
        "… and api with 512 MB": small,
        "… and no traces": replace(small, traced=0),
        "as deployed, 10 products a request": replace(case, products_per_request=10),
        "… and half the log bytes": replace(quiet, products_per_request=10),
        "as deployed, in containers": replace(case, host="containers"),
    }


def step_table(cases: Sequence[Case]) -> str:
    """Give the USD per million changes after each step, without API Gateway."""
    rates = [[per_million(made, bill(made)) for made in steps(case).values()] for case in cases]
    rows = [
        _row(name, *map(_usd, line)) for name, *line in zip(steps(cases[0]), *rates, strict=True)
    ]
    return "\n".join(_head("USD per million", *(f"{case.rate:g}/s" for case in cases)) + rows)


def outage_table(cases: Sequence[Case]) -> str:
    """Give what a day without the supply chain costs."""
    rows = []
    for case in cases:
        refused, hanging = outage(case, 5), outage(case, 10_000)
        rows.append(
            _row(
                f"{case.rate:g}/s",
                f"{refused.waiting:,.0f}",
                f"{refused.probes:,.0f}",
                f"{hanging.probes:,.0f}",
                _usd(refused.usd),
                _usd(hanging.usd),
            )
        )
    heads = ("rate", "products", "probes, refused", "probes, timed out", "USD, refused")
    return "\n".join(_head(*heads, "USD, timed out") + rows)


# ---- the command ----


def parser() -> argparse.ArgumentParser:
    """Every option that is not given has the value that Terraform deploys, or that was measured."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--rate", type=float, action="append", help="changes per second")
    made.add_argument("--host", choices=sorted(COMPUTE))
    made.add_argument("--api", choices=["rest", "http", "none"])
    made.add_argument("--batch", type=int, dest="products_per_request", help="products a request")
    made.add_argument("--memory", action="append", default=[], metavar="ROLE=MB")
    made.add_argument("--cpu", action="append", default=[], metavar="ROLE=MS", help="per product")
    made.add_argument("--bridge-round", type=float, metavar="MS", help="without its pause")
    made.add_argument("--sync-batch", type=int)
    made.add_argument("--window", type=float, dest="window_seconds", help="of the batches of sync")
    made.add_argument("--log-bytes", type=float, help="per delivered product")
    made.add_argument("--traced", type=float, help="share of the requests that X-Ray records")
    made.add_argument("--product-bytes", type=float)
    made.add_argument("--mongodb", type=float, dest="mongodb_month", help="USD a month")
    made.add_argument("--nats", type=float, dest="nats_month", help="USD a month")
    made.add_argument("--json", action="store_true")
    return made


def read_case(given: argparse.Namespace) -> Case:
    """Make the case of a command line, without its rate."""
    case = Case()
    options = {
        name: value
        for name, value in vars(given).items()
        if name in Case.__dataclass_fields__ and name != "rate" and value is not None
    }
    sizes = dict(size.split("=") for size in given.memory)
    options["memory"] = case.memory | {role: int(size) for role, size in sizes.items()}
    measured: dict[str, Any] = {
        role: (float(ms), float(ms)) for role, ms in (cpu.split("=") for cpu in given.cpu)
    }
    if given.log_bytes is not None:
        measured["log_bytes"] = (given.log_bytes, given.log_bytes)
    if given.bridge_round is not None:
        options["waits"] = replace(case.waits, bridge_round=given.bridge_round)
    return replace(case, **options | {"measured": replace(case.measured, **measured)})


def report(case: Case) -> dict[str, Any]:
    """Give the case, its bill, and an outage of a day in which all probes time out, for JSON."""
    made = bill(case)
    return {
        "case": asdict(case),
        "usdPerMonth": made,
        "usdPerMillionWithoutGateway": per_million(case, made),
        "outageOfADay": asdict(outage(case, 10_000)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or JSON with one report per rate."""
    given = parser().parse_args(arguments)
    cases = [replace(read_case(given), rate=rate) for rate in given.rate or RATES]
    if given.json:
        print(json.dumps([report(case) for case in cases]))
    else:
        print(table(cases), step_table(cases), lever_table(cases), outage_table(cases), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
