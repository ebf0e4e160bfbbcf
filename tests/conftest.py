"""In CI a test that was skipped was not run: the session fails and names it.

A reason that starts with "allowed in CI:" is an exception that somebody decided on.

And SIGTERM ends a session like Ctrl-C, so that fixtures stop the processes that they started.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

from chalicelib import telemetry

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ALLOWED = "allowed in CI:"

# What tests share asserts too, and a failure there is to show its values as one in a test does.
for shared in (
    "browser",
    "contract",
    "disasters",
    "e2e",
    "fakes",
    "kubernetes",
    "processes",
    "support",
    "unit",
):
    pytest.register_assert_rewrite(f"tests.{shared}")


@pytest.fixture(autouse=True)
def telemetry_as_by_default() -> Iterator[None]:
    """The next test gets its logs, whatever level this one, or the code that it ran, has set.

    A metric that is not defined fails the test that emits it.
    """
    telemetry.strict = True
    yield
    telemetry.configure(level="INFO", tracing=False)
    telemetry.export_to(None)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # (path, line, "Skipped: reason") for a skip; other shapes belong to other outcomes.
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


class _SkipGuard:
    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # An expected failure is reported as skipped too, though it did run.
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid, _reason(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid, _reason(report))

    def _note(self, name: str, reason: str) -> None:
        if not reason.startswith(ALLOWED):
            self.skipped[name] = reason

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        if self.skipped and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.skipped:
            return
        terminalreporter.section("skipped in CI: the run fails", red=True)
        for name, reason in self.skipped.items():
            terminalreporter.write_line(f"{name}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Guard against skips in CI, time no example, and let SIGTERM end a session in order."""
    # How long an example takes says nothing on a machine that runs five processes of tests.
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("untimed")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(_SkipGuard())
