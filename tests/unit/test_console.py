"""The console's page: whole, and allowed to do only what it does. tests/browser runs it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from chalicelib.http.console import page
from embedded.services import ROOT
from tests.http import WsgiClient
from tools import package

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import World

VENDOR = page.FOLDER / "vendor"


class Elements(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""
        self.feed(page.page())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in self.texts:
            self.texts[self._open].append(data)

    def handle_endtag(self, tag: str) -> None:
        assert tag
        self._open = ""


def files() -> list[Path]:
    return [path for path in page.FOLDER.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def directives() -> dict[str, list[str]]:
    policy = page.headers()["Content-Security-Policy"]
    return {name: values for name, *values in (each.split() for each in policy.split(";"))}


def test_the_page_is_served_without_a_token_and_with_its_policy(world: World) -> None:
    answer = WsgiClient(world.gateway).get("/console")
    assert (answer.status, answer.text) == (200, page.page())
    assert page.headers().items() <= answer.headers.items()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"


def test_the_page_fetches_nothing() -> None:
    fetched = [
        (tag, value)
        for tag, name, value in Elements().attributes
        if name in {"src", "href", "srcset", "action"} and not value.startswith("data:")
    ]
    assert fetched == []
    assert "@import" not in page.page()
    assert "url(" not in (page.FOLDER / "style.css").read_text()


def test_every_script_of_the_folder_is_in_the_page_and_ends_where_it_ends() -> None:
    scripts = Elements().texts["script"]
    assert len(scripts) == len([path for path in files() if path.suffix == ".js"])
    assert page.page().count("</script>") == len(scripts)


@pytest.mark.parametrize("kind", ["script", "style"])
def test_the_policy_allows_exactly_the_texts_of_the_page(kind: str) -> None:
    texts = Elements().texts[kind]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    assert directives()[f"{kind}-src"] == [f"'sha256-{value}'" for value in hashes]
    assert hashes


def test_the_policy_allows_nothing_else() -> None:
    others = directives()
    del others["script-src"], others["style-src"]
    assert others == {
        "default-src": ["'none'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }


def test_no_element_has_a_style_or_a_handler_of_its_own() -> None:
    named = {name for _, name, _ in Elements().attributes}
    assert not any(name == "style" or name.startswith("on") for name in named)
    for path in (page.FOLDER / "js").glob("*.js"):
        assert not re.search(
            r"\bstyle=|dangerouslySetInnerHTML|\beval\(|new Function", path.read_text()
        )


def test_a_library_is_as_its_notice_says() -> None:
    notice = (VENDOR / "NOTICE").read_text()
    sums = dict(re.findall(r"^  (\S+)\s+([0-9a-f]{64})", notice, re.MULTILINE))
    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")
    }
    libraries = re.findall(r"^(\w+) \d\S+, ", notice, re.MULTILINE)
    assert {f"LICENSE-{name}" for name in libraries} == {
        path.name for path in VENDOR.glob("LICENSE*")
    }


def test_the_page_names_its_libraries_with_their_versions() -> None:
    for name in re.findall(r"^(\w+ \d\S+), ", (VENDOR / "NOTICE").read_text(), re.MULTILINE):
        assert name in page.page()


def test_the_lambda_artifact_has_every_file_of_the_console() -> None:
    for path in files():
        assert package.belongs(path.relative_to(ROOT).as_posix()), path


def test_the_image_has_every_file_of_the_console() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "!chalicelib/" in ignored
    # What comes after it leaves out nothing of the folder but bytecode.
    after = ignored[ignored.index("!chalicelib/") + 1 :]
    assert [line for line in after if not line.startswith(("!", "embedded/"))] == [
        "**/__pycache__/"
    ]
    assert "COPY chalicelib ./chalicelib" in (ROOT / "Dockerfile").read_text()
