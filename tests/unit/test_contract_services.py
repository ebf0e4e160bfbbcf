"""The names that the contract suite uses on somebody's server, and their removal."""

from __future__ import annotations

import pytest

from tests.contract.services import OwnNames, must_answer, named_by


class Server:
    """Removes what has a name, unless it is interrupted or refuses."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.removed: list[str] = []

    def remove(self, name: str) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.removed.append(name)


def test_the_environment_names_servers_by_the_products_settings() -> None:
    given = {"MONGODB_URI": "mongodb://m", "NATS_URL": "", "SYNC_QUEUE_URL": "https://q/1/sync"}

    assert named_by(given) == {"mongodb": "mongodb://m", "sqs": "https://q/1/sync"}


def test_each_name_is_new_says_whose_it_is_and_is_short_enough_for_a_database() -> None:
    names = OwnNames(lambda _: None)

    with names.one() as first, names.one() as second:
        assert first != second
        assert first.startswith("catalog-contract-")
        assert len(first) <= 38


@pytest.mark.parametrize("error", [AssertionError(), KeyboardInterrupt()])
def test_what_a_test_has_made_is_removed_however_it_ends(error: BaseException) -> None:
    server = Server()

    def test() -> None:
        with OwnNames(server.remove).one():
            raise error

    with pytest.raises(type(error)):
        test()
    assert len(server.removed) == 1


def test_a_removal_that_was_interrupted_is_made_up_for_at_the_end() -> None:
    server = Server(KeyboardInterrupt())
    names, made = OwnNames(server.remove), []
    with pytest.raises(KeyboardInterrupt), names.one() as name:
        made.append(name)

    names.remove_the_rest()

    assert server.removed == made


def test_what_cannot_be_removed_is_named_and_the_others_are_removed() -> None:
    away = [OSError("away")] * 2
    server = Server(*away, OSError("refused"))
    names, made = OwnNames(server.remove), []
    for _ in range(2):
        with pytest.raises(OSError, match="away"), names.one() as name:
            made.append(name)

    with pytest.raises(AssertionError, match=min(made)):
        names.remove_the_rest()

    assert server.removed == [max(made)]


def test_a_server_that_does_not_answer_ends_the_run_and_is_named() -> None:
    def ask() -> None:
        raise OSError("refused")

    with pytest.raises(pytest.exit.Exception, match=r"NATS_URL.*refused"):
        must_answer("nats", ask)
