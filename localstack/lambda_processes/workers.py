"""The process of an execution environment: started, asked, and ended when it takes too long.

It gets nothing of LocalStack's own environment but what a program needs to run. It stays in
LocalStack's process group, so that it ends with it, whatever happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

# As on AWS: importing the handler's module has this time of its own.
INIT_SECONDS = 10.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "NO_PROXY", "no_proxy")
RUNTIME = Path(__file__).with_name("runtime.py")


class _Answer(TypedDict):
    payload: str
    failed: bool


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    socket: socket.socket


@dataclass(frozen=True)
class Function:
    """What to run: `handler` as "module.name", in the unpacked code; `timeout` in seconds."""

    handler: str
    folder: Path
    environment: Mapping[str, str]
    timeout: float


@dataclass(frozen=True)
class Invocation:
    """One call. `event` is JSON, `trace` the X-Ray header."""

    request_id: str
    arn: str
    event: str
    trace: str


@dataclass(frozen=True)
class Outcome:
    """What came of a call: `payload` is JSON, `log` all lines written meanwhile."""

    payload: str
    failed: bool
    log: str


class Worker:
    """The process of one execution environment, with at most one invocation at a time.

    It starts with the first invocation, and again with the one after its end.
    """

    def __init__(self, python: str, function: Function) -> None:
        self._python, self._function = python, function
        self._running: _Running | None = None
        # Without a name: nothing is left of it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this object
        # Two write to it, and it is emptied: so each writes at what is the end then.
        fcntl.fcntl(self._log, fcntl.F_SETFL, os.O_RDWR | os.O_APPEND)

    def invoke(self, invocation: Invocation) -> Outcome:
        """Call the handler, and wait for it no longer than its timeout."""
        began = time.monotonic()
        seconds = self._function.timeout
        running = self._running
        if running is None or running.process.poll() is not None:
            running = self._running = self._start()
            seconds += INIT_SECONDS
        version = self._function.environment.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self._note(f"START RequestId: {invocation.request_id} Version: {version}")
        try:
            answer = self._exchange(running.socket, invocation, began + seconds)
        except TimeoutError:
            answer = self._timed_out(running, invocation)
        except (ConnectionError, EOFError):
            answer = self._ended(running, invocation)
        self._note(f"END RequestId: {invocation.request_id}")
        milliseconds = (time.monotonic() - began) * 1000
        self._note(f"REPORT RequestId: {invocation.request_id}\tDuration: {milliseconds:.2f} ms")
        return Outcome(answer["payload"], answer["failed"], self._take_log())

    def stop(self) -> None:
        """End the process, also while it is asked something by another thread."""
        if self._running:
            self._running.process.kill()
            self._running.process.wait()

    def _start(self) -> _Running:
        ours, theirs = socket.socketpair()
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        folder = str(self._function.folder)
        own = {"LAMBDA_TASK_ROOT": folder, "PYTHONUNBUFFERED": "1"}
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - no shell, our own arguments
                # -P: the folder of the program is none of the function's.
                [self._python, "-P", RUNTIME, str(theirs.fileno()), self._function.handler],
                env={**inherited, **self._function.environment, **own},
                cwd=folder,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
        return _Running(process, ours)

    def _exchange(self, channel: socket.socket, invocation: Invocation, deadline: float) -> _Answer:
        """Send a line and wait for one. Raises TimeoutError, ConnectionError, EOFError."""
        request = asdict(invocation) | {"timeout": self._function.timeout}
        channel.settimeout(max(0.001, deadline - time.monotonic()))
        channel.sendall(json.dumps(request).encode() + b"\n")
        received = bytearray()
        while not received.endswith(b"\n"):
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            part = channel.recv(1 << 20)
            if not part:
                raise EOFError
            received += part
        answer: _Answer = json.loads(received)
        return answer

    def _timed_out(self, running: _Running, invocation: Invocation) -> _Answer:
        _end(running)
        text = f"Task timed out after {self._function.timeout:.2f} seconds"
        self._note(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {invocation.request_id} {text}")
        return _failure("Sandbox.Timedout", f"RequestId: {invocation.request_id} Error: {text}")

    def _ended(self, running: _Running, invocation: Invocation) -> _Answer:
        # It has closed its end of the connection, and has its own status in a moment.
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(1)
        status = _end(running)
        how = f"signal: {-status}" if status < 0 else f"exit status {status}"
        text = f"RequestId: {invocation.request_id} Error: Runtime exited with error: {how}"
        self._note(text)
        return _failure("Runtime.ExitError", text)

    def _note(self, line: str) -> None:
        self._log.write(f"{line}\n".encode())
        self._log.flush()

    def _take_log(self) -> str:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        # What is written next begins here, since both write at the end.
        self._log.truncate(0)
        return text


def _end(running: _Running) -> int:
    """End a process that may have ended; give its exit status, negative for a signal."""
    running.process.kill()
    running.socket.close()
    return running.process.wait()


def _failure(kind: str, message: str) -> _Answer:
    return {"payload": json.dumps({"errorType": kind, "errorMessage": message}), "failed": True}
