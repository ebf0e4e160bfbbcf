"""The console in a real browser, watched for whatever a page should not do."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.unit.conftest import a_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import ConsoleMessage

PATIENCE = 15_000
"""Milliseconds; the machines that run this are slow."""
OPERATOR = ("products:read", "products:write", "sync:admin")
_WATCH = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`))"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The distribution's chromium. Skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on the PATH: apt-get install chromium")
    # As root, such as in a container, its sandbox cannot be set up.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


class Console:
    """A tab with the console of an API. `complaints` is what the browser has found wrong."""

    def __init__(self, browser: Browser, api: str) -> None:
        expect.set_options(timeout=PATIENCE)
        self.api = api
        context = browser.new_context(reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        context.add_init_script(_WATCH)
        self.complaints: list[str] = []
        self.refusals_expected = False
        """Whether the API is to refuse something, which the browser reports too."""
        self.page: Page = context.new_page()
        # Time goes on as ever, but a test can let it leap.
        self.page.clock.install()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        refusal = message.text.startswith("Failed to load resource")
        if message.type in {"error", "warning"} and not (refusal and self.refusals_expected):
            self.complaints.append(f"{message.type}: {message.text}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[Console]:
        """A test's turn: it begins with an empty tab, and the browser must find nothing wrong.

        A tab of its own for each test would take three times as long.
        """
        self.complaints.clear()
        self.refusals_expected = False
        self.page.set_viewport_size({"width": 1200, "height": 900})
        self.page.emulate_media(color_scheme="light")
        yield self
        self.page.unroute_all()
        self.page.evaluate("sessionStorage.clear()")
        self.page.goto("about:blank")
        assert self.complaints == []

    # ---- where it is ----

    def log_in(self, *scopes: str, token: str = "") -> None:
        """Open the console by a link that has the token in its fragment."""
        token = token or a_token(*(scopes or OPERATOR), sub="operator")
        self.page.goto(f"{self.api}/console#token={token}")
        expect(self.heading()).to_have_text("Overview")

    def go(self, route: str) -> None:
        """Follow a link to a screen."""
        self.page.evaluate("route => { location.hash = route; }", route)

    def heading(self) -> Locator:
        return self.page.locator("main h1")

    # ---- what it shows and does ----

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("link", name=name)

    def region(self, name: str) -> Locator:
        return self.page.get_by_role("region", name=name)

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def rows(self) -> Locator:
        return self.page.locator("tbody tr")

    def refresh(self) -> None:
        """Let the time leap to the next refresh."""
        self.page.clock.run_for(3500)
