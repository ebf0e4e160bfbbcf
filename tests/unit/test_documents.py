"""The documentation hangs together: its links work, and nothing refers to what is not there."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".env", ".example", ".md", ".py", ".sh", ".tf", ".tfvars", ".toml", ".yaml", ".yml"}
NAMES = {"Dockerfile", "Makefile", "run"}
# What tools have made, and what is not text of ours.
LEFT_OUT = {"__pycache__", "dist", "node_modules", "requirements"}
OUTSIDE = re.compile(r"the design\b|\bdesign\.md|\bsections? \d|§|\bissues? ?#?\d", re.IGNORECASE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE_BLOCK = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# As a sentence of code or of a document names them: a path from the root, or the number.
PAGE = re.compile(r"\bdocs/[\w./-]+\.md\b")
DECISION = re.compile(r"\bADR (\d+)")


@cache
def texts() -> dict[Path, str]:
    """Give every text file of the project, but this one."""
    found: dict[Path, str] = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if _is_ours(name)]
        paths = [Path(folder, name) for name in names]
        ours = [path for path in paths if path.suffix in SUFFIXES or path.name in NAMES]
        found |= {path: path.read_text() for path in ours if path != Path(__file__)}
    return found


def _is_ours(folder: str) -> bool:
    return folder in {".ci", ".github"} or not (folder.startswith(".") or folder in LEFT_OUT)


def documents() -> list[Path]:
    return sorted(path for path in texts() if path.suffix == ".md")


def links(path: Path) -> list[str]:
    """Give the links of a document that stay in the project."""
    found = LINK.findall(CODE_BLOCK.sub("", texts()[path]))
    return [link for link in found if not link.startswith(("https:", "http:"))]


def anchors(path: Path) -> set[str]:
    """Give the anchors that GitHub makes of a document's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(CODE_BLOCK.sub("", texts()[path])):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def target(path: Path, link: str) -> Path:
    """Give the file or folder that a link names."""
    name = link.partition("#")[0]
    return (path.parent / name).resolve() if name else path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", documents(), ids=named)
def test_each_link_of_a_document_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in links(path):
        found, anchor = target(path, link), link.partition("#")[2]
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def test_each_page_is_reached_from_the_readme() -> None:
    reached, open_ends = set[Path](), [ROOT / "README.md"]
    while open_ends:
        page = open_ends.pop()
        reached.add(page)
        for found in (target(page, link) for link in links(page)):
            pages = found.glob("*.md") if found.is_dir() else [found]
            open_ends += [each for each in pages if each.suffix == ".md" and each not in reached]
    assert {named(path) for path in (ROOT / "docs").rglob("*.md")} <= {named(p) for p in reached}


def test_each_page_that_the_project_names_exists() -> None:
    missing = {
        f"{named(path)}: {page}"
        for path, text in texts().items()
        for page in PAGE.findall(text)
        if not (ROOT / page).is_file()
    }
    assert missing == set()


def test_each_decision_that_the_project_names_exists() -> None:
    numbers = {path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")}
    missing = {
        f"{named(path)}: ADR {number}"
        for path, text in texts().items()
        for number in DECISION.findall(text)
        if number.zfill(4) not in numbers
    }
    assert missing == set()


def test_the_decisions_are_numbered_without_a_gap_and_each_says_its_status() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    head = re.compile(r"# (\d+)\. .+\n\n(## Status\n\n)?(Accepted|Replaced)\b")
    found = [head.match(page.read_text()) for page in pages]
    assert [it and int(it[1]) for it in found] == list(range(1, len(pages) + 1))


def test_nothing_refers_to_a_document_that_is_not_in_the_project() -> None:
    found = {
        f"{named(path)}: {match.group()}"
        for path, text in texts().items()
        for match in OUTSIDE.finditer(text)
    }
    assert found == set()
