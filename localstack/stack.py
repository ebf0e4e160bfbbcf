"""The deployed system on one machine: `python -m localstack.stack up|down`.

`up` starts an AWS emulator, NATS, a MongoDB-wire server and the fake supply chain, packages the
Lambdas for this machine, and applies the root module of `terraform/` to the emulator. It writes
`.run/aws/stack.json` (see `AwsInfo`). Run again, it starts what is not running and applies what
has changed. `down` destroys, stops everything and removes the folder.

Besides the settings of the embedded stack (MONGODB_URI, NATS_URL, SUPPLY_CHAIN_URL: addresses as
the Lambdas see them, in whose place no server is started) there are, in the environment:

    EMULATOR       which emulator to start: ministack (default) or localstack
    EMULATOR_URL   an emulator that runs already, such as that of docker-compose.yml
    TF_PLUGIN_DIR  folder with Terraform's aws provider, for machines without the registry
    AWS_RUN_DIR    folder of all state, default .run/aws, relative to the project
    AWS_VAR_FILE   further variables of the root module (*.tfvars or *.tfvars.json, relative to the
                   project), which win over emulator.tfvars
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from embedded.servers import ServerProcesses, write_private
from embedded.services import (
    HOST,
    ROOT,
    Endpoints,
    Service,
    StackError,
    aws_client,
    embedded_servers,
    endpoints,
    server_service,
)
from embedded.stack import sign_token
from localstack.capabilities import GO_WITH_OTHERS
from localstack.emulators import (
    emulator_identity,
    emulator_name,
    emulator_service,
    mark_emulator,
    unmark_emulator,
)
from localstack.terraform import MODULE, Terraform
from tools.package import MACHINES, PackageError, package, running_python


class AwsInfo(TypedDict):
    """The content of stack.json. `processes` holds pids by name, of what we started ourselves."""

    api: str
    token: str
    jwtSecret: str
    endpoint: str
    supplyChain: str
    mongodb: str
    nats: str
    queueUrl: str
    bulkQueueUrl: str
    dlqUrl: str
    secretArn: str
    functions: dict[str, Any]
    resources: int
    applySeconds: float
    processes: dict[str, int]


class AwsStack:
    """The emulator and what is around it; state under `run_dir`."""

    def __init__(
        self,
        run_dir: Path,
        environ: Mapping[str, str],
        say: Callable[[str], None] = print,
    ) -> None:
        self.run_dir = (ROOT / run_dir).resolve()
        # The queues are the emulator's.
        names = ("SYNC_QUEUE_URL", "SYNC_DLQ_URL", "SYNC_BULK_QUEUE_URL")
        self.environ = {name: text for name, text in environ.items() if name not in names}
        self._say = say

    # ---- the commands ----

    def up(self) -> AwsInfo:
        """Start, package, apply. Raises StackError; what was started keeps running."""
        if (MODULE / "backend.tf").exists():
            raise StackError("terraform/backend.tf leads to a real account's state: move it away")
        with ServerProcesses.locked(self.run_dir) as servers:
            self.start(servers)
            self._package()
            terraform = self.terraform(servers)
            terraform.init()
            self.recognize(servers, terraform)
            self._say("terraform apply ...")
            began = time.monotonic()
            self._apply(servers, terraform)
            return self._write_info(servers, terraform, time.monotonic() - began)

    def _package(self) -> None:
        self._say("packaging the functions ...")
        architecture = MACHINES[platform.machine()]
        try:
            package(architecture, running_python(), self.run_dir / "dist", measured=False)
        except PackageError as error:
            raise StackError(str(error)) from error

    def _apply(self, servers: ServerProcesses, terraform: Terraform) -> None:
        # An operator lets the first apply stop at the empty secret. Not every emulator tells that
        # a secret is empty, and one apply is faster.
        if "secret_arn" not in terraform.outputs():
            terraform.apply("module.catalog.aws_secretsmanager_secret.catalog")
        self._put_secret(servers, terraform)
        terraform.apply()

    def _put_secret(self, servers: ServerProcesses, terraform: Terraform) -> None:
        mongodb, secret = self._where(servers).mongodb, servers.notes["secret"]
        content = json.dumps({"MONGODB_URI": mongodb, "CATALOG_JWT_SECRET": secret})
        client = aws_client("secretsmanager", servers.notes["endpoint"])
        arn = terraform.outputs()["secret_arn"]
        try:
            stored = client.get_secret_value(SecretId=arn).get("SecretString")
        except client.exceptions.ResourceNotFoundException:
            stored = None  # it has no value yet
        if stored != content:
            client.put_secret_value(SecretId=arn, SecretString=content)

    def down(self) -> None:
        """Destroy, stop, remove the folder. Raises StackError if something could not be destroyed.

        Whatever comes of it, nothing is left running.
        """
        if not (self.run_dir / "state.json").exists():
            return
        with ServerProcesses.locked(self.run_dir) as servers:
            try:
                self._destroy(servers)
            finally:
                servers.stop(servers.pids())
            shutil.rmtree(self.run_dir)

    def destroy(self) -> None:
        """Destroy what was applied; the servers go on running. Raises StackError."""
        with ServerProcesses.locked(self.run_dir) as servers:
            self._destroy(servers)

    def _destroy(self, servers: ServerProcesses) -> None:
        if "applied_to" not in servers.notes or _emulator_has_ended(servers):
            return
        endpoint = servers.notes["endpoint"]
        if emulator_identity(endpoint) != servers.notes["applied_to"]:
            return
        terraform = self.terraform(servers)
        if terraform.resources():
            self._say("terraform destroy ...")
            terraform.destroy(*GO_WITH_OTHERS[emulator_name(self.environ)])
            if left := terraform.resources():
                raise StackError(f"not destroyed: {', '.join(left)}")
        unmark_emulator(endpoint)

    def recognize(self, servers: ServerProcesses, terraform: Terraform) -> None:
        """Forget what was applied if the emulator is not the one that holds it."""
        endpoint = servers.notes["endpoint"]
        identity = emulator_identity(endpoint)
        if identity is None or identity != servers.notes.get("applied_to"):
            terraform.forget()
            servers.notes["applied_to"] = identity or mark_emulator(endpoint)
            servers.save()

    def secret(self) -> str:
        """Give the secret that tokens are signed with."""
        return ServerProcesses(self.run_dir).notes["secret"]

    def terraform(self, servers: ServerProcesses | None = None) -> Terraform:
        """Give Terraform, set up for this stack."""
        servers = servers or ServerProcesses(self.run_dir)
        where = self._where(servers)
        values = {
            "endpoint": servers.notes["endpoint"],
            "artifacts": os.path.relpath(self.run_dir / "dist", MODULE),
            "runtime": f"python{running_python()}",
            "architecture": MACHINES[platform.machine()],
            "nats_url": where.nats,
            "supply_chain_url": where.supply_chain,
        }
        return Terraform(self.run_dir, self.environ, values)

    # ---- the servers ----

    def start(self, servers: ServerProcesses) -> None:
        """Start what is not running. Raises StackError."""
        servers.forget_the_dead()
        servers.ports |= servers.choose_ports(self._names(), {})
        servers.notes.setdefault("secret", secrets.token_urlsafe(48))
        # Remembered: `down` may come without the EMULATOR_URL that `up` was given.
        servers.notes["endpoint"] = self.environ.get("EMULATOR_URL") or _own_emulator(servers)
        servers.save()
        where = self._where(servers)
        services = {name: self._service(name, servers, where) for name in self._names()}
        if stale := servers.stale(services):
            self._say(f"stopping, since its settings have changed: {', '.join(stale)}")
            servers.stop(stale)
        servers.start(services)

    def _names(self) -> list[str]:
        """The servers that are ours to start; `sqs` is the emulator as a whole."""
        given = {"sqs"} if self.environ.get("EMULATOR_URL") else set()
        return [name for name in embedded_servers(self.environ) if name not in given]

    def _service(self, name: str, servers: ServerProcesses, where: Endpoints) -> Service:
        port = servers.ports[name]
        if name != "sqs":
            return server_service(name, port, self.run_dir, self.environ, where)
        return emulator_service(emulator_name(self.environ), port, self.run_dir, self.environ)

    def _where(self, servers: ServerProcesses) -> Endpoints:
        ports = {name: servers.ports.get(name, 0) for name in self._names()}
        return endpoints(self.environ, {**ports, "sqs": ports.get("sqs", 0), "api": 0})

    def _write_info(
        self, servers: ServerProcesses, terraform: Terraform, seconds: float
    ) -> AwsInfo:
        outputs, where = terraform.outputs(), self._where(servers)
        info = AwsInfo(
            api=outputs["api_url"],
            token=sign_token(servers.notes["secret"]),
            jwtSecret=servers.notes["secret"],
            endpoint=servers.notes["endpoint"],
            supplyChain=where.supply_chain,
            mongodb=where.mongodb,
            nats=where.nats,
            queueUrl=outputs["queue_url"],
            bulkQueueUrl=outputs["bulk_queue_url"],
            dlqUrl=outputs["dlq_url"],
            secretArn=outputs["secret_arn"],
            functions=outputs["functions"],
            resources=len(terraform.resources()),
            applySeconds=round(seconds, 1),
            processes={name: pid for name, pid in servers.pids().items() if pid},
        )
        write_private(self.run_dir / "stack.json", json.dumps(info, indent=2) + "\n")
        return info


def _own_emulator(servers: ServerProcesses) -> str:
    """Say where an emulator of ours is."""
    return f"http://{HOST}:{servers.ports.get('sqs', 0)}"


def _emulator_has_ended(servers: ServerProcesses) -> bool:
    """Tell whether the emulator was ours and has ended: what it held is gone with it."""
    ours = servers.notes["endpoint"] == _own_emulator(servers)
    return ours and not servers.pids().get("sqs")


def _print_info(info: AwsInfo, run_dir: Path) -> None:
    rows = {
        "API": info["api"],
        "AWS": f"{info['endpoint']}  (AWS_ENDPOINT_URL; any credentials)",
        "supply chain": info["supplyChain"],
        "MongoDB": info["mongodb"],
        "NATS": info["nats"],
        "queue": info["queueUrl"],
        "resources": f"{info['resources']}, applied in {info['applySeconds']:.0f} s",
        "logs": str(run_dir / "logs"),
        "token": info["token"],
    }
    for name, value in rows.items():
        print(f"{name:14}{value}")


def main() -> int:
    """Read the command line and the environment; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m localstack.stack", description="AWS, emulated")
    parser.add_argument("command", choices=("up", "down"))
    arguments = parser.parse_args()
    stack = AwsStack(Path(os.environ.get("AWS_RUN_DIR") or ".run/aws"), os.environ)
    try:
        if arguments.command == "up":
            _print_info(stack.up(), stack.run_dir)
        else:
            stack.down()
    except (StackError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
