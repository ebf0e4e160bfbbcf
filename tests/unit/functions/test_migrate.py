"""The migration's Lambda and its command; tests/contract has what it does to a store."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from chalicelib.bootstrap import Container
from chalicelib.domain.errors import (
    CatalogError,
    StoreUnavailableError,
    StreamNotMigratedError,
    StreamUnavailableError,
)
from chalicelib.settings import SettingsError, read_settings
from functions import migrate
from functions.run import HostContext
from tests.http import refused_port
from tests.unit.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Use = Callable[["Store"], None]

CHANGES = ["made the index sku", "dropped the index status"]


class Store:
    """Gives these changes, then fails if there is an error; notes how long it may take.

    `stream`: what the migration of the stream gives, or how it fails.
    """

    def __init__(
        self,
        *changes: str,
        error: Exception | None = None,
        stream: list[str | CatalogError] | None = None,
        mode: str = "normal",
    ) -> None:
        self.settings = read_settings({**ENVIRONMENT, "CATALOG_MODE": mode})
        self._changes, self._error, self._stream = changes, error, stream or []
        self.patience: float | None = -1

    def migrate(self, patience: float | None = None) -> Iterator[str]:
        self.patience = patience
        yield from self._changes
        if self._error:
            raise self._error

    def migrate_stream(self) -> Iterator[str]:
        for step in self._stream:
            if isinstance(step, CatalogError):
                raise step
            yield step


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Let the command migrate this; the signal's handler is as before afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda store: monkeypatch.setattr(migrate, "container", lambda: store)
    signal.signal(signal.SIGTERM, before)


def test_the_lambda_gives_the_changes(use: Use) -> None:
    use(Store(*CHANGES))
    assert migrate.handler({}, HostContext(60)) == {"changes": CHANGES}


def test_the_lambda_gives_up_before_its_time_is_over(use: Use) -> None:
    store = Store()
    use(store)
    migrate.handler({}, HostContext(60))
    assert store.patience == pytest.approx(60 - migrate.RESERVE_SECONDS, abs=1)


def test_the_lambda_fails_if_the_store_cannot_be_migrated(use: Use) -> None:
    # Else Terraform would move the aliases.
    use(Store(*CHANGES, error=StoreUnavailableError("away")))
    with pytest.raises(StoreUnavailableError):
        migrate.handler({}, HostContext(60))


def test_the_command_prints_a_line_for_each_change(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(*CHANGES)
    use(store)
    assert migrate.main() == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert (lines, last) == (CHANGES, "2 changes: all is as this release needs it")
    assert store.patience is None, "it takes as long as it takes"


def test_the_command_fails_if_the_store_is_away_and_says_why(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(Store(CHANGES[0], error=StoreUnavailableError("MongoDB: away")))
    assert migrate.main() == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{CHANGES[0]}\n", "error: MongoDB: away\n")


def test_a_store_that_is_away_does_not_hold_up_the_mode_of_its_restore(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    # Else the functions would still take writes when the store is back, as it was yesterday.
    use(Store(error=StoreUnavailableError("MongoDB: away"), mode="restore"))
    assert migrate.main() == 0
    assert capsys.readouterr().err == "warning: the store was not looked at: MongoDB: away\n"
    assert migrate.handler({}, HostContext(60)) == {"changes": []}


MADE = "made the stream PRODUCTS"
WRONG = StreamNotMigratedError("stream PRODUCTS: storage is memory")


def test_the_stream_is_migrated_after_the_store(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(Store(CHANGES[0], stream=[MADE]))
    assert migrate.main() == 0
    assert capsys.readouterr().out.splitlines()[:-1] == [CHANGES[0], MADE]
    assert migrate.handler({}, HostContext(60)) == {"changes": [CHANGES[0], MADE]}


def test_a_stream_that_needs_a_person_fails_the_command_and_the_lambda(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(Store(CHANGES[0], stream=[MADE, WRONG]))
    assert migrate.main() == 1
    assert capsys.readouterr().err == "error: stream PRODUCTS: storage is memory\n"
    with pytest.raises(StreamNotMigratedError):
        migrate.handler({}, HostContext(60))


def test_a_stream_that_is_away_holds_up_no_release(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(Store(CHANGES[0], stream=[StreamUnavailableError("NATS: away")]))
    assert migrate.main() == 0
    printed = capsys.readouterr()
    assert printed.err == "warning: the stream was not looked at: NATS: away\n"
    last = printed.out.splitlines()[-1]
    assert last == "1 changes: the stream was not looked at: run this again when that answers"
    assert migrate.handler({}, HostContext(60)) == {"changes": [CHANGES[0]]}


@pytest.mark.usefixtures("use")
def test_the_command_names_a_setting_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise SettingsError("MONGODB_URI: is required")

    monkeypatch.setattr(migrate, "container", refuse)
    assert migrate.main() == 2
    assert capsys.readouterr().err == "settings: MONGODB_URI: is required\n"


@pytest.mark.usefixtures("use")
def test_the_command_says_which_server_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chalicelib.bootstrap.MONGODB_SECONDS", 0.1)
    address = f"127.0.0.1:{refused_port()}"
    uri = f"mongodb://user:hunter2@{address}"
    parts = Container(read_settings({**ENVIRONMENT, "MONGODB_URI": uri}))
    monkeypatch.setattr(migrate, "container", lambda: parts)
    assert migrate.main() == 1
    assert capsys.readouterr().err == f"error: MongoDB: {address}: Connection refused\n"
    parts.close()


@pytest.mark.parametrize("patience", [7.0, None])
def test_a_command_of_the_migration_may_take_longer_than_one_of_a_request(
    patience: float | None,
) -> None:
    parts = Container(read_settings(ENVIRONMENT))
    client = parts._mongo_client(patience)
    assert client.options.pool_options.socket_timeout == patience
    request = parts._mongo_client()
    assert request.options.pool_options.socket_timeout == 10
    parts.close()


@pytest.mark.parametrize(
    "uri", ["mongodb://127.0.0.1:1", "mongodb+srv://nowhere.invalid", "mongodb://%zz@127.0.0.1"]
)
def test_an_address_with_no_mongodb_is_an_error_of_the_store(
    monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setattr("chalicelib.bootstrap.MONGODB_SECONDS", 0.1)
    parts = Container(read_settings({**ENVIRONMENT, "MONGODB_URI": uri}))
    with pytest.raises(StoreUnavailableError, match=r"MongoDB: \w+"):
        list(parts.migrate())
    parts.close()
