"""`make demo`: a catalog of products reaches a supply chain that fails 30 % of its calls.

Runs a separate embedded stack in a temporary folder, beside that of `make up`. It loads the sample
catalog through the API, changes every tenth product, waits until the API says that all products are
delivered, and compares each product with what the supply chain has. Exit code 0 only if all are
equal. The stack is stopped in any case; after a failure its logs are kept.

PORT and the names in `SETTINGS` may be set in the environment. Other settings are ignored, so the
demo uses no other servers than its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import simplejson

from catalogctl.importing import FileError, ImportStoppedError, import_file
from chalicelib.settings import SettingsError
from embedded.fake_supply_chain import FAILURE_KINDS
from embedded.history import COMPARED
from embedded.processes import free_port
from embedded.reports import console_link
from embedded.services import StackError, local_session, without_settings
from embedded.stack import StackInfo, on_own_stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json = dict[str, Any]

CATALOG = Path(__file__).with_name("products.ndjson")
DEADLINE_SECONDS = 300.0
CHANGE_EVERY = 10
SETTINGS = {
    "SUPPLY_CHAIN_FAILURE_RATE": "0.3",
    "SYNC_HORIZON_SECONDS": "600",
    "SYNC_MAX_WAIT_SECONDS": "60",
}


class DemoError(Exception):
    """The demo has failed; the message says why."""


EXPECTED = (
    DemoError,
    FileError,
    ImportStoppedError,
    StackError,
    SettingsError,
    OSError,  # requests' errors too
)


def demo_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the demo's stack: of the settings only PORT and `SETTINGS` are kept."""
    kept = {name: environ[name] for name in ("PORT", *SETTINGS) if environ.get(name)}
    return {**without_settings(environ), "PORT": str(free_port()), **SETTINGS, **kept}


class Client:
    """The few requests of the demo. Fractions in answers are exact Decimals."""

    def __init__(self, info: StackInfo) -> None:
        self._info = info
        self._session = local_session()
        self._auth = {"Authorization": f"Bearer {info['token']}"}

    def products(self) -> Iterator[Json]:
        """Every product of the catalog, page by page."""
        cursor = None
        while True:
            page = self._api("GET", "/products", params={"limit": 100, "cursor": cursor})
            yield from page["items"]
            cursor = page["nextCursor"]
            if cursor is None:
                return

    def change_price(self, product: Json) -> None:
        """Raise a product's price by 1.01, which makes a newer version."""
        body = simplejson.dumps({"price": product["price"] + Decimal("1.01")}, use_decimal=True)
        headers = {"Content-Type": "application/merge-patch+json"}
        self._api("PATCH", f"/products/{product['id']}", data=body, headers=headers)

    def progress(self) -> Json:
        """How many products there are per sync status."""
        return self._api("GET", "/sync")

    def calls(self) -> Json:
        """What the supply chain has seen, as counts."""
        return self._json("GET", f"{self._info['supplyChain']}/_control/summary")

    def delivered(self) -> list[Json]:
        """What the supply chain holds."""
        answer = self._json("GET", f"{self._info['supplyChain']}/_control/products")
        return list(answer["items"])

    def _api(self, method: str, path: str, **options: Any) -> Json:  # noqa: ANN401 - for requests
        headers = {**self._auth, **options.pop("headers", {})}
        return self._json(method, self._info["api"] + path, headers=headers, **options)

    def _json(self, method: str, url: str, **options: Any) -> Json:  # noqa: ANN401 - for requests
        answer = self._session.request(method, url, timeout=30, **options)
        if not answer.ok:
            raise DemoError(f"{method} {url} answers {answer.status_code}: {answer.text[:300]}")
        content: Json = simplejson.loads(answer.text, use_decimal=True)
        return content


def differences(catalog: list[Json], delivered: list[Json]) -> list[str]:
    """Give a line for each product that differs between the supply chain and the catalog."""
    held = {item["id"]: item for item in delivered}
    lines = []
    for product in catalog:
        other = held.pop(product["id"], None)
        if other is None:
            lines.append(f"{product['id']}: the supply chain does not hold it")
            continue
        lines += [
            f"{product['id']}: {name} is {other.get(name)!r}, must be {product[name]!r}"
            for name in COMPARED
            if other.get(name) != product[name]
        ]
    return lines + [f"{identifier}: the catalog does not hold it" for identifier in held]


def lags(catalog: list[Json]) -> list[float]:
    """How many seconds after its last change each delivered product was delivered, sorted."""
    return sorted(
        (
            datetime.fromisoformat(product["syncCompletedAt"])
            - datetime.fromisoformat(product["updatedAt"])
        ).total_seconds()
        for product in catalog
        if product["syncCompletedAt"]
    )


@dataclass
class ProgressLine:
    """One line that is overwritten; if the output is not a terminal, a new line every 5 s."""

    shown_at: float = 0.0

    def show(self, text: str) -> None:
        """Show this text instead of the text before."""
        if sys.stdout.isatty():
            print(f"\r\x1b[K{text}", end="", flush=True)
        elif time.monotonic() - self.shown_at >= 5:
            self.shown_at = time.monotonic()
            print(text, flush=True)

    def end(self, text: str) -> None:
        """Leave this text as the last."""
        print(f"\r\x1b[K{text}" if sys.stdout.isatty() else text, flush=True)


def load(info: StackInfo) -> int:
    """Load the sample catalog through the API; give the number of products, all of them new."""
    line = ProgressLine()
    report = import_file(
        CATALOG,
        info["api"],
        info["token"],
        on_progress=lambda share, _: line.show(f"loading {share:.0%}"),
    )
    line.end(f"loaded: {report}")
    if report.refused:
        raise DemoError(f"the API refused {report.refused} of the sample products")
    return report.loaded


def change_some(client: Client) -> int:
    """Change every tenth product, so that newer versions exist; give the number of changes."""
    chosen = [product for n, product in enumerate(client.products()) if n % CHANGE_EVERY == 0]
    for product in chosen:
        client.change_price(product)
    print(f"changed the price of {len(chosen)} products", flush=True)
    return len(chosen)


def wait_for_delivery(client: Client, total: int) -> None:
    """Show progress until `total` products are delivered. Raises DemoError after the deadline.

    `delivered` must reach the total. That the other counts are 0 is not enough: the counts are no
    snapshot, so a product that changes its status may be in none of them.
    """
    deadline, line = time.monotonic() + DEADLINE_SECONDS, ProgressLine()
    while True:
        summary, calls = client.progress(), client.calls()
        counts, breaker = summary["products"], summary["breaker"]
        text = f"delivered {counts['delivered']} / {total}, "
        text += f"{calls['calls']} calls, {calls['failed']} failed"
        if breaker["state"] != "closed":
            text += f", the breaker is {breaker['state']}: {breaker['reason']}"
        if counts["delivered"] == total:
            line.end(text)
            return
        if time.monotonic() > deadline:
            line.end(text)
            raise DemoError(f"not delivered after {DEADLINE_SECONDS:.0f} s: {counts}")
        line.show(text)
        time.sleep(0.5)


def report(catalog: list[Json], calls: Json, seconds: float) -> None:
    """Print what happened."""
    waits = lags(catalog)
    kinds = sorted((kind, n) for kind, n in calls["byOutcome"].items() if kind in FAILURE_KINDS)
    rows = {
        "products": len(catalog),
        "versions written": sum(product["version"] + 1 for product in catalog),
        "calls": calls["calls"],
        "failed calls": f"{calls['failed']} ({', '.join(f'{kind} {n}' for kind, n in kinds)})",
        "stale calls": calls["stale"],
        "overlapping calls": calls["concurrent"],
        "from change to delivery": f"median {statistics.median(waits):.1f} s, "
        f"p95 {waits[int(len(waits) * 0.95)]:.1f} s, max {waits[-1]:.1f} s",
        "whole demo": f"{seconds:.0f} s",
    }
    for name, value in rows.items():
        print(f"  {name:25}{value}")


def show(info: StackInfo, began: float) -> None:
    """Load, change, wait, compare. Raises DemoError unless the supply chain holds all of it."""
    print(f"watch it, while it runs: {console_link(info['api'], info['token'])}", flush=True)
    client = Client(info)
    total = load(info)
    change_some(client)
    wait_for_delivery(client, total)
    catalog, calls = list(client.products()), client.calls()
    report(catalog, calls, time.monotonic() - began)
    wrong = differences(catalog, client.delivered())
    if wrong:
        raise DemoError("\n".join([f"{len(wrong)} differences:", *wrong[:20]]))
    # Neither may ever happen: an old version after a newer one, two calls at once for a product.
    if calls["stale"] or calls["concurrent"]:
        raise DemoError("the supply chain has seen stale or overlapping calls")
    print(f"the supply chain holds the newest version of all {len(catalog)} products")


def main() -> int:
    """Run the demo; give the exit code."""
    began = time.monotonic()
    environ = demo_environment(os.environ)
    return on_own_stack("demo", environ, lambda stack: show(stack.up(), began), EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
