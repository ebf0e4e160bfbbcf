"""The pictures of the documentation: `python -m tools.screenshots`, or `make screenshots`.

Runs a separate embedded stack whose supply chain fails 30 % of its calls, and some products always.
It loads the sample catalog, changes products for some minutes, and takes `docs/images/*.png` with
the chromium on the PATH.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Page, expect, sync_playwright

from embedded.demo import EXPECTED, Client, DemoError, demo_environment, load
from embedded.reports import console_link
from embedded.services import ROOT, local_session
from embedded.stack import Stack, StackInfo, on_own_stack

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGES = ROOT / "docs" / "images"
SETTINGS = {
    # Short, so that products fail for good while somebody waits.
    "SYNC_HORIZON_SECONDS": "60",
    "SYNC_MAX_WAIT_SECONDS": "10",
    "RECONCILE_GRACE_SECONDS": "2",
    "AUDIT_MAX_RATE": "100",
}
FAILING, REJECTED = 4, 2
SIZE = {"width": 1200, "height": 900}
CHANGES_PER_SECOND = 4


def screens(product_id: str) -> dict[str, tuple[str, str]]:
    """Give the picture of each screen: its route, and what it shows when it is complete."""
    return {
        "overview": ("/", "The last hour"),
        "behind": ("/behind", "Last error"),
        "product": (f"/product/{product_id}", "What happened, and what comes next"),
        "audit": ("/audit", "In numbers"),
    }


def take(page: Page, api: str, token: str, product_id: str, folder: Path) -> None:
    """Take a picture of each screen."""
    folder.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]  # a dict of these names
    page.goto(console_link(api, token))
    for name, (route, shown) in screens(product_id).items():
        page.evaluate("route => { location.hash = route; }", route)
        expect(page.locator("main").get_by_text(shown).first).to_be_visible()
        # Without the mark of the focus that a change of the route leaves.
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=folder / f"{name}.png", full_page=name == "overview")


# ---- what is to be seen ----


class _Scene:
    """A catalog at work, in which some products fail."""

    def __init__(self, info: StackInfo) -> None:
        self._info = info
        self._client = Client(info)
        self._chain = f"{info['supplyChain']}/_control"

    def bring_about(self, minutes: float) -> str:
        """Change products for some minutes; give the id of one that fails."""
        load(self._info)
        products = list(self._client.products())
        failing, others = products[: FAILING + REJECTED], products[FAILING + REJECTED :]
        ids = [product["id"] for product in failing]
        with local_session() as session:
            settings = {"failIds": ids[:FAILING], "rejectIds": ids[FAILING:]}
            session.put(self._chain, json=settings, timeout=10).raise_for_status()
        for product in failing:
            self._client.change_price(product)
        self._keep_changing(others, minutes)
        self._wait_for_failures()
        self._audit()
        return str(ids[0])

    def _keep_changing(self, products: list[dict[str, Any]], minutes: float) -> None:
        end = time.monotonic() + 60 * minutes
        for product in itertools.cycle(products):
            if time.monotonic() > end:
                return
            self._client.change_price(product)
            product["price"] += Decimal("1.01")
            time.sleep(1 / CHANGES_PER_SECOND)

    def _wait_for_failures(self) -> None:
        end = time.monotonic() + 300
        while self._client.progress()["stuck"]["count"] < FAILING + REJECTED:
            if time.monotonic() > end:
                raise DemoError("the products that fail have not failed for good after 300 s")
            time.sleep(1)

    def _audit(self) -> None:
        headers = {"Authorization": f"Bearer {self._info['token']}"}
        url, end = f"{self._info['api']}/sync/audit", time.monotonic() + 300
        with local_session() as session:
            session.post(url, json={}, headers=headers, timeout=10).raise_for_status()
            while session.get(url, headers=headers, timeout=10).json()["state"] != "done":
                if time.monotonic() > end:
                    raise DemoError("the audit has not come to its end after 300 s")
                time.sleep(1)


def _show(stack: Stack, minutes: float, program: str) -> None:
    info = stack.up()
    product_id = _Scene(info).bring_about(minutes)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        take(browser.new_page(), info["api"], info["token"], product_id, IMAGES)
        browser.close()
    print(f"written: {', '.join(path.name for path in sorted(IMAGES.glob('*.png')))}")


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of the stack: that of the demo, in which products fail for good soon."""
    return {**demo_environment(environ), **SETTINGS}


def main(argv: list[str] | None = None) -> int:
    """Take the pictures; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots")
    parser.add_argument("--minutes", type=float, default=4, help="of traffic before (%(default)s)")
    minutes = parser.parse_args(argv).minutes
    program = shutil.which("chromium")
    if program is None:
        print("there is no chromium on the PATH: apt-get install chromium", file=sys.stderr)
        return 1
    environ = environment(os.environ)
    return on_own_stack(
        "screenshots", environ, lambda stack: _show(stack, minutes, program), EXPECTED
    )


if __name__ == "__main__":
    sys.exit(main())
