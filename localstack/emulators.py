"""The AWS emulators, each as a process of this machine, and how to know one again.

EMULATOR in the environment chooses: `ministack` (default) or `localstack`.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from embedded.services import (
    HOST,
    Service,
    StackError,
    aws_client,
    http_missing,
    local_environment,
    ministack,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

EMULATORS = ("ministack", "localstack")
# A queue that says by a tag which emulator this is: one that was started anew does not have it.
MARKER = "emulator-of-product-catalog"
TAG = "identity"
LOCALSTACK = {
    "LAMBDA_RUNTIME_EXECUTOR": "process",
    # URLs of queues begin with LOCALSTACK_HOST: the host names of the other forms do not resolve.
    "SQS_ENDPOINT_STRATEGY": "off",
    # The longest pause between two polls of an empty queue, in seconds.
    "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "0.5",
    # It needs no network: no usage statistics, no certificate, no name server.
    "DISABLE_EVENTS": "1",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DNS_ADDRESS": "0",
}


def emulator_name(environ: Mapping[str, str]) -> str:
    """Read EMULATOR. Raises StackError when there is no such emulator."""
    name = environ.get("EMULATOR") or EMULATORS[0]
    if name not in EMULATORS:
        raise StackError(f"EMULATOR must be one of {', '.join(EMULATORS)}, not {name!r}")
    return name


def emulator_service(name: str, port: int, run_dir: Path, environ: Mapping[str, str]) -> Service:
    """Say how to run an emulator; all its files are under `run_dir`.

    Raises StackError when it is not installed.
    """
    # Here the Lambdas' code is unpacked.
    temporary = run_dir / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = local_environment(environ) | {"TMPDIR": str(temporary)}
    if name == "localstack":
        return _localstack(port, run_dir, environment)
    # It asks IAM about each call, as AWS does.
    program = _program("ministack", "ministack")
    return ministack(program, str(port), str(temporary), environment | {"AUTH": "true"})


def _localstack(port: int, run_dir: Path, environment: Mapping[str, str]) -> Service:
    data = run_dir / "data" / "localstack"
    address = f"{HOST}:{port}"
    settings = {
        **LOCALSTACK,
        "GATEWAY_LISTEN": address,
        "LOCALSTACK_HOST": address,
        # The Lambdas' interpreter is ours, not that of LocalStack's environment.
        "LAMBDA_PROCESS_PYTHON": sys.executable,
        "LOCALSTACK_VOLUME_DIR": str(data),
        "FILESYSTEM_ROOT": str(data),
        # Its plugins are cached there; each environment has others.
        "XDG_CACHE_HOME": str(data / "cache"),
    }
    # -P: the folder named localstack in the project's is not LocalStack.
    command = (_program("localstack", "python"), "-P", "-m", "localstack.runtime.main")
    health = f"http://{address}/_localstack/health"
    return Service(command, {**environment, **settings}, lambda: http_missing(health))


def _program(emulator: str, name: str) -> str:
    # Beside the environment that runs this.
    program = Path(f"{sys.prefix}-{emulator}") / "bin" / name
    if not program.exists():
        raise StackError(f"{program} is missing: make aws-up EMULATOR={emulator} installs it")
    return str(program)


# ---- is it the same as before? ----


def emulator_identity(endpoint: str) -> str | None:
    """Say which emulator answers there, as it was marked; None if it is not marked.

    One that was started anew is not, unless it kept its data. Raises StackError if nobody answers.
    """
    client = aws_client("sqs", endpoint)
    try:
        url = client.get_queue_url(QueueName=MARKER)["QueueUrl"]
        tags: dict[str, str] = client.list_queue_tags(QueueUrl=url).get("Tags", {})
    except client.exceptions.QueueDoesNotExist:
        return None
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"the emulator at {endpoint} does not answer: {error}") from error
    return tags.get(TAG)


def mark_emulator(endpoint: str) -> str:
    """Give an emulator an identity, and return it. Raises StackError."""
    identity = uuid.uuid4().hex
    try:
        aws_client("sqs", endpoint).create_queue(QueueName=MARKER, tags={TAG: identity})
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"the emulator at {endpoint} cannot be marked: {error}") from error
    return identity


def unmark_emulator(endpoint: str) -> None:
    """Take the identity away again. Raises StackError."""
    client = aws_client("sqs", endpoint)
    try:
        client.delete_queue(QueueUrl=client.get_queue_url(QueueName=MARKER)["QueueUrl"])
    except client.exceptions.QueueDoesNotExist:
        return
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"the emulator at {endpoint} cannot be unmarked: {error}") from error
