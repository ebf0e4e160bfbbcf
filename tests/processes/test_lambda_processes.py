"""The processes in which LocalStack runs Lambdas here: calls, errors, timeouts, crashes, logs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from embedded.processes import identify
from localstack.lambda_processes import workers
from localstack.lambda_processes.workers import Function, Invocation, Outcome, Worker
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., Worker]

CODE = """
import os, sys, time
calls = 0

def handler(event, context):
    global calls
    calls += 1
    return eval(event)
"""


def call(worker: Worker, expression: str, request_id: str = "id-1") -> Outcome:
    """Let the handler evaluate an expression."""
    arn = "arn:aws:lambda:us-east-1:000000000000:function:sync"
    return worker.invoke(Invocation(request_id, arn, json.dumps(expression), "Root=1-2-3"))


def answer(outcome: Outcome) -> Any:  # noqa: ANN401 - JSON
    return json.loads(outcome.payload)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Make a worker of a function; `timeout` in seconds."""
    (tmp_path / "code.py").write_text(CODE)
    made: list[Worker] = []

    def one(handler: str = "code.handler", timeout: float = 30, **environment: str) -> Worker:
        made.append(Worker(sys.executable, Function(handler, tmp_path, environment, timeout)))
        return made[-1]

    yield one
    for worker in made:
        worker.stop()


def test_a_handler_is_given_the_event_and_its_answer_comes_back(start: Start) -> None:
    outcome = call(start(), "[1, 'ü']")
    assert (answer(outcome), outcome.failed) == ([1, "ü"], False)


def test_an_answer_of_many_megabytes_comes_back_whole(start: Start) -> None:
    assert answer(call(start(), "'x' * 5_000_000")) == "x" * 5_000_000


def test_a_process_serves_one_invocation_after_the_other(start: Start) -> None:
    worker = start()
    assert [answer(call(worker, "calls")) for _ in range(3)] == [1, 2, 3]


def test_a_handler_sees_its_own_environment_and_none_of_localstacks(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALSTACK_SECRET", "x")
    monkeypatch.setenv("PYTHONPATH", "/localstack/site-packages")
    found = answer(call(start(QUEUE="q"), "dict(os.environ)"))
    assert found["QUEUE"] == "q"
    assert not {"LOCALSTACK_SECRET", "PYTHONPATH"} & set(found)


def test_the_code_of_the_function_comes_first_on_the_path(start: Start, tmp_path: Path) -> None:
    assert answer(call(start(), "sys.path[0]")) == str(tmp_path)
    assert answer(call(start(), "os.environ['LAMBDA_TASK_ROOT']")) == str(tmp_path)


def test_the_trace_of_the_invocation_is_where_x_ray_looks_for_it(start: Start) -> None:
    assert answer(call(start(), "os.environ['_X_AMZN_TRACE_ID']")) == "Root=1-2-3"


def test_the_context_names_the_request_and_the_time_that_is_left(start: Start) -> None:
    worker = start(AWS_LAMBDA_FUNCTION_NAME="product-catalog-sync")
    names = (
        "[context.aws_request_id, context.function_name, context.get_remaining_time_in_millis()]"
    )
    request_id, function, left = answer(call(worker, names, "id-7"))
    assert (request_id, function) == ("id-7", "product-catalog-sync")
    assert 20_000 < left <= 30_000


def test_an_error_of_the_handler_is_a_failed_answer_that_names_it(start: Start) -> None:
    worker = start()
    outcome = call(worker, "1 / 0")
    assert outcome.failed
    assert answer(outcome)["errorType"] == "ZeroDivisionError"
    assert "[ERROR] ZeroDivisionError: division by zero" in outcome.log
    assert answer(call(worker, "calls")) == 2, "the process goes on"


def test_a_handler_that_cannot_be_imported_is_a_failed_answer(start: Start) -> None:
    outcome = call(start("missing.handler"), "1")
    assert outcome.failed
    assert answer(outcome)["errorType"] == "Runtime.ImportModuleError"


def test_an_answer_that_is_no_json_is_a_failed_answer(start: Start) -> None:
    assert answer(call(start(), "object()"))["errorType"] == "Runtime.MarshalError"


def test_a_handler_that_takes_too_long_is_ended_and_started_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "INIT_SECONDS", 0)
    worker = start(timeout=0.5)
    outcome = call(worker, "time.sleep(60)")
    assert outcome.failed
    assert answer(outcome)["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 0.50 seconds" in outcome.log
    monkeypatch.undo()
    assert answer(call(worker, "calls")) == 1


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("sys.exit(3)", "exit status 3"),
        ("os._exit(4)", "exit status 4"),
        ("os.kill(os.getpid(), 9)", "signal: 9"),
    ],
)
def test_a_process_that_ends_is_a_failed_answer_and_is_started_again(
    start: Start, end: str, how: str
) -> None:
    worker = start()
    outcome = call(worker, end)
    assert answer(outcome)["errorType"] == "Runtime.ExitError"
    assert how in answer(outcome)["errorMessage"]
    assert answer(call(worker, "calls")) == 1


def test_a_process_that_ended_between_invocations_is_started_again(start: Start) -> None:
    worker = start()
    pid = answer(call(worker, "os.getpid()"))
    code = "__import__('threading').Timer(0.1, os._exit, [1]).start()"
    call(worker, code)
    gone(pid)
    assert answer(call(worker, "calls")) == 1


def test_each_invocation_has_its_own_lines_in_the_log(start: Start) -> None:
    worker = start()
    call(worker, "print('first')", "id-1")
    lines = call(worker, "[print('second'), print('third', file=sys.stderr)]", "id-2").log
    found = lines.splitlines()
    assert found[0] == "START RequestId: id-2 Version: $LATEST"
    assert found[1:4] == ["second", "third", "END RequestId: id-2"]
    assert found[4].startswith("REPORT RequestId: id-2\tDuration: ")
    assert len(found) == 5


def test_a_stopped_worker_leaves_no_process(start: Start) -> None:
    worker = start()
    pid = answer(call(worker, "os.getpid()"))
    worker.stop()
    gone(pid)


def gone(pid: int) -> None:
    eventually(lambda: identify(pid) is None, 10, "the process has ended")
