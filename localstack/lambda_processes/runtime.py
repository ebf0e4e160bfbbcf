"""Runs in a function's process: takes invocations from a socket, calls the handler, answers.

    python runtime.py SOCKET MODULE.NAME

SOCKET is the number of an open socket; each request and each answer on it is a line of JSON, see
`workers`. It needs nothing but the standard library. The current folder holds the code.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[Any, "Context"], object]
    Answer = dict[str, object]


class Context:
    """What Lambda gives a handler besides the event."""

    identity = client_context = None

    def __init__(self, request: dict[str, Any]) -> None:
        """`request`: one line of the socket."""
        self.aws_request_id: str = request["request_id"]
        self.invoked_function_arn: str = request["arn"]
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self._end = time.monotonic() + request["timeout"]

    def get_remaining_time_in_millis(self) -> int:
        """Say how long the handler has left, in milliseconds."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def failure(kind: str, message: str, error: BaseException, request_id: str) -> Answer:
    """Answer with an error as Lambda does, and write it to the log."""
    trace = traceback.format_tb(error.__traceback__)[1:]
    print(f"[ERROR] {kind}: {message}", *trace, sep="\n", file=sys.stderr)
    content = {
        "errorMessage": message,
        "errorType": kind,
        "requestId": request_id,
        "stackTrace": trace,
    }
    return {"payload": json.dumps(content), "failed": True}


def load(name: str) -> Handler:
    """Import a handler."""
    module, _, attribute = name.rpartition(".")
    handler: Handler = getattr(importlib.import_module(module.replace("/", ".")), attribute)
    return handler


def call(handler: Handler, request: dict[str, Any]) -> Answer:
    """Call the handler with the event of a request."""
    request_id = request["request_id"]
    try:
        result = handler(json.loads(request["event"] or "null"), Context(request))
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is an answer
        return failure(type(error).__name__, str(error), error, request_id)
    try:
        return {"payload": json.dumps(result), "failed": False}
    except (TypeError, ValueError) as error:
        text = f"Unable to marshal response: {error}"
        return failure("Runtime.MarshalError", text, error, request_id)


def main() -> None:
    """Answer requests until the socket is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Not for programs that the handler starts: the end of this process must end the connection.
    channel.set_inheritable(False)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a text, as all of the path
    handler: Handler | None = None
    for line in channel.makefile("rb"):
        request = json.loads(line)
        # X-Ray's SDK reads it there, as on Lambda.
        os.environ["_X_AMZN_TRACE_ID"] = request["trace"]
        try:
            handler = handler or load(sys.argv[2])
        except Exception as error:  # noqa: BLE001 - whatever an import raises is an answer
            text = f"Unable to import module of {sys.argv[2]!r}: {error}"
            answer = failure("Runtime.ImportModuleError", text, error, request["request_id"])
        else:
            answer = call(handler, request)
        sys.stdout.flush()
        channel.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
