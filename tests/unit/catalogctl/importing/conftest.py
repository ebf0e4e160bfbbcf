"""The catalog that the importer loads into, and files for it."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogctl import importing
from tests.unit.catalogctl.importing.catalog import Catalog, handler_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    catalog = Catalog()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(catalog)) as server:
        server.daemon_threads = True
        catalog.url = f"http://127.0.0.1:{server.server_port}/api"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield catalog
        server.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between two tries."""
    monkeypatch.setattr(importing, "_FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(content: str | bytes, name: str = "some.ndjson") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
