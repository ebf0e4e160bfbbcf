"""What the emulators lack is said once; the documentation shows the same."""

from __future__ import annotations

import pytest

from embedded.services import ROOT, StackError
from localstack.capabilities import GAPS, lacks, table
from localstack.emulators import EMULATORS, emulator_name


def test_the_page_on_emulators_shows_the_table_of_the_code() -> None:
    page = (ROOT / "docs" / "emulators.md").read_text()
    shown = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    assert shown == table()


def test_the_table_names_emulators_that_there_are() -> None:
    assert {name for gap in GAPS.values() for name in gap.missing_in} <= set(EMULATORS)


def test_a_capability_is_lacking_only_where_the_table_says_so() -> None:
    assert lacks("localstack", "IAM")
    assert not lacks("ministack", "IAM")


def test_ministack_is_the_emulator_unless_another_is_named() -> None:
    assert emulator_name({}) == "ministack"
    assert emulator_name({"EMULATOR": "localstack"}) == "localstack"


def test_an_emulator_that_there_is_not_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(StackError, match="one of ministack, localstack, not 'moto'"):
        emulator_name({"EMULATOR": "moto"})
