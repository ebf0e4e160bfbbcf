"""What the embedded stack runs: each process's command, environment, data, and when it is ready.

Four servers, each unless the environment gives an address for it, and our own four roles, all with
the same settings: those of the environment, else `DEFAULTS`, else the product's own defaults.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pymongo
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

from chalicelib.adapters.sqs import BATCH
from chalicelib.domain.retry import QUEUE_RETENTION_SECONDS, max_receive_count
from chalicelib.settings import SETTINGS, Settings, unknown_settings
from embedded import mongod

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ("mongodb", "nats", "sqs", "supplyChain")
ROLES = ("api", "bridge", "sync", "reconcile")
HOST = "127.0.0.1"

# What the embedded stack sets when the environment does not: short waits. MiniStack's long poll
# looks for messages every 100 ms; of many pollers one looks soon.
DEFAULTS = {
    "SUPPLY_CHAIN_TIMEOUT_SECONDS": "2",
    "RECONCILE_GRACE_SECONDS": "20",
    "SYNC_POLLERS": "40",
}
# Never a real account, even if the developer is logged in to one. Emulators use a key of twelve
# digits as the account number; for this key they use 000000000000.
LOCAL_AWS = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
NOT_WITH_LOCAL_AWS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL")
MONGODB_OPTIONS = "directConnection=true&retryWrites=false"


class StackError(Exception):
    """The stack cannot do what was asked; the message is for users."""


@dataclass(frozen=True)
class Endpoints:
    """Where everything is: the embedded servers, or what the environment names instead."""

    api: str
    supply_chain: str
    mongodb: str
    nats: str
    sqs: str
    queue: str
    dlq: str
    bulk_queue: str


@dataclass(frozen=True)
class Service:
    """How to start one process, and how to ask it whether it is ready.

    `missing` gives None if the process is ready, else what is missing. It is None if the process
    cannot be asked.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    missing: Callable[[], str | None] | None = None

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the process must be restarted for new settings."""
        settings = {name: text for name, text in self.environment.items() if is_setting(name)}
        content = json.dumps([self.command, settings], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


# ---- settings ----


def is_setting(name: str) -> bool:
    """Tell whether our roles read this variable of the environment."""
    return name in SETTINGS or name.startswith("AWS_")


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without any setting of the product or of the stack."""
    ours = {"RUN_DIR", "SUPPLY_CHAIN_FAILURE_RATE", *unknown_settings(environ)}
    return {name: v for name, v in environ.items() if not is_setting(name) and name not in ours}


def role_settings(environ: Mapping[str, str], where: Endpoints, secret: str) -> dict[str, str]:
    """Give the settings that our roles run with. An empty variable counts as unset."""
    given = {name: text for name, text in environ.items() if text and is_setting(name)}
    settings = DEFAULTS | given
    settings["MONGODB_URI"] = where.mongodb
    settings["NATS_URL"] = where.nats
    settings["SYNC_QUEUE_URL"] = where.queue
    settings["SYNC_DLQ_URL"] = where.dlq
    # Empty if the queues are given, and this one is not.
    settings["SYNC_BULK_QUEUE_URL"] = where.bulk_queue
    settings["SUPPLY_CHAIN_URL"] = where.supply_chain
    if secret:
        settings["CATALOG_JWT_SECRET"] = secret
    if "sqs" in embedded_servers(environ):
        for name in NOT_WITH_LOCAL_AWS:
            settings.pop(name, None)
        settings |= LOCAL_AWS | {"AWS_ENDPOINT_URL_SQS": where.sqs}
    return settings


def api_port(environ: Mapping[str, str]) -> int:
    """Read PORT. Raises StackError when it is not a port."""
    text = environ.get("PORT") or str(Settings.model_fields["api_port"].default)
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise StackError(f"PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def metrics_ports(environ: Mapping[str, str]) -> dict[str, int]:
    """Give the port of each role's metrics, by role: METRICS_PORT and the next ones; else none.

    Raises StackError when METRICS_PORT is not a port with three others after it.
    """
    text = environ.get("METRICS_PORT")
    if not text:
        return {}
    last = 65_536 - len(ROLES)
    if not text.isdecimal() or not 1 <= int(text) <= last:
        raise StackError(f"METRICS_PORT must be a number from 1 to {last}, not {text!r}")
    return {role: int(text) + place for place, role in enumerate(ROLES)}


def failure_rate(environ: Mapping[str, str]) -> float | None:
    """Read SUPPLY_CHAIN_FAILURE_RATE, None if unset. Raises StackError when it is no share."""
    text = environ.get("SUPPLY_CHAIN_FAILURE_RATE")
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise StackError(f"SUPPLY_CHAIN_FAILURE_RATE must be a number from 0 to 1, not {text!r}")


def embedded_servers(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Name the servers that the environment does not give an address for.

    Raises StackError when a queue has an address, and the sync queue or its dead-letter queue none.
    """
    needed = ("SYNC_QUEUE_URL", "SYNC_DLQ_URL")
    queues = [name for name in (*needed, "SYNC_BULK_QUEUE_URL") if environ.get(name)]
    if queues and not set(needed) <= set(queues):
        alone = " and ".join(queues)
        raise StackError(f"{alone} alone is set: set SYNC_QUEUE_URL and SYNC_DLQ_URL, or none")
    variables = ("MONGODB_URI", "NATS_URL", "SYNC_QUEUE_URL", "SUPPLY_CHAIN_URL")
    return tuple(
        name for name, given in zip(SERVERS, variables, strict=True) if not environ.get(given)
    )


def with_store(
    environ: Mapping[str, str], run_dir: Path, say: Callable[[str], None] = print
) -> dict[str, str]:
    """Decide which server is the MongoDB: MONGOD becomes the mongod's path, empty for SecantusDB.

    Without MONGOD it is the mongod on the PATH, if there is one. A stack keeps the server that has
    written its data: neither can read the other's. Raises StackError when that one is not there, or
    is not what MONGOD asks for.
    """
    if environ.get("MONGODB_URI"):
        return {**environ, "MONGOD": ""}
    wanted = environ.get("MONGOD")
    program = shutil.which("mongod" if wanted is None else wanted, path=environ.get("PATH")) or ""
    if wanted and not program:
        raise StackError(f"MONGOD: there is no program {wanted}")
    held, found = _data_of(run_dir), store_name({"MONGOD": program})
    if held in (None, found):
        return {**environ, "MONGOD": program}
    text = f"the data in {run_dir} is of {held}; `make clean` removes it, another RUN_DIR keeps it"
    if held == "mongod" or wanted:
        raise StackError(f"{program or 'SecantusDB'} cannot be used: {text}")
    say(f"not using {program}: {text}")
    return {**environ, "MONGOD": ""}


def store_name(environ: Mapping[str, str]) -> str:
    """Name the embedded MongoDB server that this environment chooses."""
    return "mongod" if environ.get("MONGOD") else "SecantusDB"


def _data_of(run_dir: Path) -> str | None:
    # The folder of SecantusDB has the name that it had when there was no other.
    for folder, store in (("mongod", "mongod"), ("mongodb", "SecantusDB")):
        path = run_dir / "data" / folder
        if path.is_dir() and any(path.iterdir()):
            return store
    return None


def endpoints(environ: Mapping[str, str], ports: Mapping[str, int]) -> Endpoints:
    """Give every address; `ports` has those of the embedded servers and of the API."""

    def at(name: str, scheme: str, given: str, path: str = "") -> str:
        return f"{scheme}://{HOST}:{ports[name]}{path}" if name in ports else environ[given]

    queue = at("sqs", "http", "SYNC_QUEUE_URL", "/000000000000/product-sync")
    return Endpoints(
        api=f"http://{HOST}:{ports['api']}/api",
        supply_chain=at("supplyChain", "http", "SUPPLY_CHAIN_URL"),
        mongodb=at("mongodb", "mongodb", "MONGODB_URI", _mongodb_options(environ)),
        nats=at("nats", "nats", "NATS_URL"),
        sqs="/".join(queue.split("/")[:3]),
        queue=queue,
        dlq=at("sqs", "http", "SYNC_DLQ_URL", "/000000000000/product-sync-dlq"),
        bulk_queue=f"{queue}-bulk" if "sqs" in ports else environ.get("SYNC_BULK_QUEUE_URL", ""),
    )


def _mongodb_options(environ: Mapping[str, str]) -> str:
    # A direct connection: the server reports a replica set, and discovery would only cost time.
    direct = "/?directConnection=true"
    # SecantusDB walks its table of retryable writes with every write.
    return direct if environ.get("MONGOD") else f"{direct}&retryWrites=false"


# ---- the processes ----


def all_services(
    environ: Mapping[str, str],
    run_dir: Path,
    ports: Mapping[str, int],
    where: Endpoints,
    settings: Mapping[str, Mapping[str, str]],
) -> dict[str, Service]:
    """Say how to run everything that the environment leaves to us; `settings` are by role."""
    servers = embedded_servers(environ)
    return {
        name: server_service(name, ports[name], run_dir, environ, where) for name in servers
    } | {role: role_service(role, settings[role], environ, where) for role in ROLES}


def server_service(
    name: str, port: int, run_dir: Path, environ: Mapping[str, str], where: Endpoints
) -> Service:
    """Say how to run one embedded server, and make the folder of its data.

    Raises StackError when its program is not installed.
    """
    folder = "mongod" if name == "mongodb" and environ.get("MONGOD") else name
    data = run_dir / "data" / folder
    data.mkdir(parents=True, exist_ok=True)
    make = {"mongodb": _mongodb, "nats": _nats, "sqs": _sqs, "supplyChain": _supply_chain}[name]
    return make(str(port), str(data), local_environment(environ), where)


def role_service(
    role: str, settings: Mapping[str, str], environ: Mapping[str, str], where: Endpoints
) -> Service:
    """Say how to run one of our roles. Only the API can be asked whether it is ready."""
    command = (sys.executable, "-m", "functions.run", role)
    ready = (lambda: http_missing(f"{where.api}/ready")) if role == "api" else None
    return Service(command, {**local_environment(environ), **settings}, ready)


def _mongodb(port: str, data: str, environment: dict[str, str], where: Endpoints) -> Service:
    if program := environment.get("MONGOD"):
        started = mongod.command(program, HOST, port, data)
        return Service(
            started, environment, lambda: mongod.missing(where.mongodb, f"{HOST}:{port}")
        )
    address = ("--host", HOST, "--port", port, "--storage-path", data)
    # Without --sync-on-commit an acknowledged write may be lost by SIGKILL. Standalone: without the
    # oplog, which nobody reads.
    options = ("--log-level", "WARNING", "--sync-on-commit", "--standalone")
    command = (tool("secantusd-py"), *address, *options)
    return Service(command, environment, lambda: _mongodb_missing(where.mongodb))


def _nats(port: str, data: str, environment: dict[str, str], _: Endpoints) -> Service:
    command = (tool("nats-server"), "-a", HOST, "-p", port, "-js", "-sd", data)
    return Service(command, environment, lambda: _nats_missing(int(port)))


def _sqs(port: str, data: str, environment: dict[str, str], _: Endpoints) -> Service:
    durable = {"SERVICES": "sqs", "PERSIST_STATE": "1", "STATE_DIR": data, "LOG_LEVEL": "WARNING"}
    return ministack(tool("ministack"), port, data, environment | durable)


def ministack(program: str, port: str, folder: str, environment: Mapping[str, str]) -> Service:
    """Say how to run MiniStack; in `folder` it puts temporary files."""
    settings = {
        "BIND_HOST": HOST,
        "GATEWAY_PORT": port,
        "MINISTACK_HOST": HOST,
        "TMPDIR": folder,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    health = f"http://{HOST}:{port}/_ministack/health"
    return Service((program,), {**environment, **settings}, lambda: http_missing(health))


def _supply_chain(port: str, data: str, environment: dict[str, str], where: Endpoints) -> Service:
    module = (sys.executable, "-m", "embedded.fake_supply_chain", "--port", port)
    # The rate it begins with; it keeps a later one itself, see set_up_supply_chain.
    command = (*module, "--state", f"{data}/state", "--failure-rate", "0")
    return Service(command, environment, lambda: http_missing(f"{where.supply_chain}/health"))


def local_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a local process: no settings, no proxy in between, output at once."""
    local = ",".join(filter(None, [environ.get("NO_PROXY"), HOST, "localhost"]))
    proxies = {"NO_PROXY": local, "no_proxy": local}
    return without_settings(environ) | proxies | {"PYTHONUNBUFFERED": "1"}


def tool(name: str) -> str:
    """Find a program of the virtual environment, or else of the PATH. Raises StackError."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StackError(
            f"{name} is not installed, or not available for this Python: requirements/embedded.txt"
        )
    return found


# ---- is it ready? ----


def local_session() -> requests.Session:
    """Make an HTTP session for 127.0.0.1, which ignores proxies of the environment."""
    session = requests.Session()
    session.trust_env = False
    return session


def http_missing(url: str) -> str | None:
    """Say what is wrong with the answer of an address, None if it is as expected."""
    try:
        with local_session() as session:
            answer = session.get(url, timeout=5)
    except requests.RequestException as error:
        return f"{url}: {type(error).__name__}"
    return None if answer.ok else f"{url} answers {answer.status_code}: {answer.text[:300].strip()}"


def _mongodb_missing(uri: str) -> str | None:
    try:
        with pymongo.MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")
    except PyMongoError as error:
        return str(error)
    return None


def _nats_missing(port: int) -> str | None:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            greeting = connection.recv(4096)
    except OSError as error:
        return str(error)
    return None if b'"jetstream":true' in greeting else "no JetStream in its greeting"


# ---- what the servers hold from the start ----


def sqs_client(endpoint: str, **config: Any) -> SQSClient:  # noqa: ANN401 - Config's own
    """Make a client of a local SQS."""
    client: SQSClient = aws_client("sqs", endpoint, **config)
    return client


def aws_client(service: str, endpoint: str, **config: Any) -> Any:  # noqa: ANN401 - made at run time
    """Make a client of a service at a local endpoint; `config` is botocore's."""
    defaults = {"connect_timeout": 2, "read_timeout": 10, "proxies": {}}
    return boto3.client(  # type: ignore[call-overload]  # any service
        service,
        endpoint_url=endpoint,
        region_name=LOCAL_AWS["AWS_REGION"],
        aws_access_key_id=LOCAL_AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=LOCAL_AWS["AWS_SECRET_ACCESS_KEY"],
        config=Config(**{**defaults, **config}),
    )


def create_queues(endpoint: str, settings: Settings) -> None:
    """Make the queues of the embedded SQS, or give those that exist the wanted attributes.

    `settings` are those that the sync role runs with.
    """
    client = sqs_client(endpoint)
    try:
        for name, attributes in _queue_attributes(settings).items():
            url = client.create_queue(QueueName=name)["QueueUrl"]
            client.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"sqs: cannot make the queues: {error}") from error


def _queue_attributes(settings: Settings) -> dict[str, dict[QueueAttributeNameType, str]]:
    fortnight: dict[QueueAttributeNameType, str] = {
        "MessageRetentionPeriod": str(QUEUE_RETENTION_SECONDS)
    }
    rounds = math.ceil(BATCH / settings.sync_concurrency)
    redrive = {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:product-sync-dlq",
        "maxReceiveCount": str(max_receive_count(settings.sync_max_attempts)),
    }
    sync: dict[QueueAttributeNameType, str] = {
        # Longer than a batch takes; then the messages of a killed sync process are visible again.
        "VisibilityTimeout": str(max(30, math.ceil(rounds * settings.lease_seconds))),
        "RedrivePolicy": json.dumps(redrive),
    }
    # In this order: the redrive policy names a queue that must be there.
    return {
        "product-sync-dlq": fortnight,
        "product-sync": fortnight | sync,
        "product-sync-bulk": fortnight | sync,
    }


def migrate(settings: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Make the indexes and the stream, as for a release; `settings` are the roles'."""
    command = (sys.executable, "-m", "functions.migrate")
    environment = {**local_environment(environ), **settings}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StackError(f"cannot be migrated: {done.stdout}{done.stderr}")


def set_up_supply_chain(
    supply_chain: str, rate: float | None, signing_secrets: Collection[str]
) -> None:
    """Tell the fake supply chain who signs; and how often to fail, else it keeps what it had."""
    settings: dict[str, object] = {"signingSecrets": [*signing_secrets]}
    if rate is not None:
        settings["failureRate"] = rate
    with local_session() as session:
        answer = session.put(f"{supply_chain}/_control", json=settings, timeout=5)
    if not answer.ok:
        raise StackError(f"supplyChain refuses its settings: {answer.text}")
