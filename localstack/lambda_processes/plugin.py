"""What LocalStack loads. As little as can be: LocalStack is not there where types are checked."""

from __future__ import annotations

import os
import sys
from typing import Any

from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

from .workers import Function, Invocation, Worker

HOST = "127.0.0.1"


class ProcessExecutor(RuntimeExecutor):
    """One execution environment of a function, as LocalStack asks for it."""

    _worker: Worker | None = None

    def start(self, env_vars: dict[str, object]) -> None:
        """Make the environment ready; its process starts with the first invocation."""
        config = self.function_version.config
        environment = {name: str(value) for name, value in env_vars.items() if value is not None}
        folder = config.code.get_unzipped_code_location()
        function = Function(config.handler, folder, environment, float(config.timeout))
        self._worker = Worker(os.environ.get("LAMBDA_PROCESS_PYTHON") or sys.executable, function)

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._worker:
            self._worker.stop()

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        """Call the handler; LocalStack itself puts `logs` into CloudWatch Logs."""
        if self._worker is None:
            raise RuntimeError("invoked before it was started")
        request_id = payload["invoke-id"]
        invocation = Invocation(
            request_id, payload["invoked-function-arn"], payload["payload"], payload["trace-id"]
        )
        outcome = self._worker.invoke(invocation)
        return InvocationResult(request_id, outcome.payload.encode(), outcome.failed, outcome.log)

    def get_logs(self) -> str:
        """Nothing: each invocation has given its own."""
        return ""

    def get_address(self) -> str:
        """Say where the process is."""
        return HOST

    def get_endpoint_from_executor(self) -> str:
        """Say where LocalStack is, seen from the process."""
        return HOST

    def get_runtime_endpoint(self) -> str:
        """Say where to ask for work. Nobody does: work comes over a socket pair."""
        return f"http://{HOST}"

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        """Unpack the code."""
        if function_version.config.code:
            function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Nothing: LocalStack removes the code itself."""


class ProcessPlugin(RuntimeExecutorPlugin):
    """Found by its entry point when LAMBDA_RUNTIME_EXECUTOR is `process`."""

    name = "process"

    def load(self, *_: Any, **__: Any) -> type[RuntimeExecutor]:  # noqa: ANN401 - plux's signature
        """Give the executor."""
        return ProcessExecutor
