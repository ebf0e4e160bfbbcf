"""Which server the embedded stack takes as its MongoDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded.services import StackError, endpoints, with_store


@pytest.fixture
def mongod(tmp_path: Path) -> Path:
    """A program of this name, which nobody starts."""
    program = tmp_path / "bin" / "mongod"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return program


def chosen(environ: dict[str, str], run_dir: Path) -> str:
    return with_store({"PATH": "", **environ}, run_dir, lambda _: None)["MONGOD"]


def holding(run_dir: Path, folder: str) -> Path:
    (run_dir / "data" / folder).mkdir(parents=True)
    (run_dir / "data" / folder / "WiredTiger").touch()
    return run_dir


def test_a_mongod_on_the_path_is_used(mongod: Path, tmp_path: Path) -> None:
    assert chosen({"PATH": str(mongod.parent)}, tmp_path) == str(mongod)


def test_without_a_mongod_it_is_secantusdb(tmp_path: Path) -> None:
    assert chosen({}, tmp_path) == ""


def test_an_empty_variable_means_secantusdb(mongod: Path, tmp_path: Path) -> None:
    assert chosen({"PATH": str(mongod.parent), "MONGOD": ""}, tmp_path) == ""


def test_the_variable_may_name_a_mongod_that_is_not_on_the_path(
    mongod: Path, tmp_path: Path
) -> None:
    assert chosen({"MONGOD": str(mongod)}, tmp_path) == str(mongod)


def test_a_variable_that_names_no_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="MONGOD: there is no program /none"):
        chosen({"MONGOD": "/none"}, tmp_path)


def test_a_given_address_needs_no_program(tmp_path: Path) -> None:
    assert chosen({"MONGODB_URI": "mongodb://atlas", "MONGOD": "/none"}, tmp_path) == ""


def test_a_stack_with_data_of_secantusdb_keeps_it_and_says_so(mongod: Path, tmp_path: Path) -> None:
    said: list[str] = []
    environ = {"PATH": str(mongod.parent)}
    assert with_store(environ, holding(tmp_path, "mongodb"), said.append)["MONGOD"] == ""
    assert said[0].startswith(f"not using {mongod}: the data in {tmp_path} is of SecantusDB")


def test_a_mongod_that_is_asked_for_is_never_given_the_data_of_secantusdb(
    mongod: Path, tmp_path: Path
) -> None:
    with pytest.raises(StackError, match="is of SecantusDB; `make clean` removes it"):
        chosen({"MONGOD": str(mongod)}, holding(tmp_path, "mongodb"))


@pytest.mark.parametrize("environ", [{}, {"MONGOD": ""}])
def test_secantusdb_is_never_given_the_data_of_a_mongod(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(StackError, match=r"SecantusDB cannot be used: the data in .* is of mongod"):
        chosen(environ, holding(tmp_path, "mongod"))


def test_a_stack_with_data_of_a_mongod_uses_it_again(mongod: Path, tmp_path: Path) -> None:
    environ = {"PATH": str(mongod.parent)}
    assert chosen(environ, holding(tmp_path, "mongod")) == str(mongod)


def test_only_secantusdb_is_used_without_retryable_writes() -> None:
    ports = {"mongodb": 1, "nats": 2, "sqs": 3, "supplyChain": 4, "api": 5}
    assert "retryWrites=false" in endpoints({"MONGOD": ""}, ports).mongodb
    assert "retryWrites" not in endpoints({"MONGOD": "/usr/bin/mongod"}, ports).mongodb
