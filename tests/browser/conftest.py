"""A browser for the tests of a file, a console for each of them, and an API that a test writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.browsing import Console, chromium
from tests.browser.stub import StubCatalog, StubServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


# Not for longer: while Playwright runs, no other test of the process can have an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


@pytest.fixture
def catalog(server: StubServer) -> StubCatalog:
    """What the API answers: all is well, and there are no products."""
    server.catalog = StubCatalog()
    return server.catalog


@pytest.fixture(scope="module")
def tab(browser: Browser, server: StubServer) -> Console:
    return Console(browser, server.api)


@pytest.fixture
def console(tab: Console, catalog: StubCatalog) -> Iterator[Console]:  # noqa: ARG001 - answers it
    """A console of the stub, without a token. The browser must find nothing wrong with it."""
    with tab.watched():
        yield tab
