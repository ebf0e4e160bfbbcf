"""The deployed system on one machine: `python -m localstack.stack up|down`.

`up` starts an AWS emulator (MiniStack), NATS, a MongoDB-wire server and the fake supply chain,
packages the Lambdas for this machine, and applies the root module of `terraform/` to the emulator.
It writes `.run/aws/stack.json` (see `AwsInfo`). Run again, it starts what is not running and
applies what has changed. `down` destroys, stops everything and removes the folder.

Besides the settings of the embedded stack (MONGODB_URI, NATS_URL, SUPPLY_CHAIN_URL: addresses as
the Lambdas see them, in whose place no server is started) there are, in the environment:

    EMULATOR_URL   an emulator that runs already, such as LocalStack of docker-compose.yml
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
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from embedded import processes
from embedded.processes import Process
from embedded.services import (
    HOST,
    Endpoints,
    Service,
    StackError,
    embedded_servers,
    endpoints,
    http_missing,
    server_service,
    without_settings,
)
from embedded.stack import sign_token, write_private
from tools.package import MACHINES, PackageError, package, running_python

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "terraform"
VARIABLES = Path(__file__).with_name("emulator.tfvars")
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
NO_PROVIDER = (
    "Terraform needs registry.terraform.io for its aws provider, once; or set TF_PLUGIN_DIR to a "
    "folder that holds it (what `terraform providers mirror` has made)."
)
# What stands for an account: twelve digits would be its number, these are the emulators' habit.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


class AwsInfo(TypedDict):
    """The content of stack.json. `processes` holds pids by name, of what we started ourselves."""

    api: str
    token: str
    endpoint: str
    supplyChain: str
    mongodb: str
    nats: str
    queueUrl: str
    dlqUrl: str
    secretArn: str
    functions: dict[str, Any]
    resources: int
    applySeconds: float
    processes: dict[str, int]


@dataclass
class State:
    """What is remembered between commands. `applied_to` is the identity of the emulator.

    `endpoint` is its address: `down` may come without the EMULATOR_URL that `up` was given.
    """

    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    secret: str = ""
    applied_to: str = ""
    endpoint: str = ""


class Terraform:
    """Terraform on the root module, its state and data in `folder`, against an emulator."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        values: Mapping[str, str],
    ) -> None:
        """`values`: variables that emulator.tfvars leaves open."""
        self._folder = folder
        self._state = folder / "terraform.tfstate"
        further = environ.get("AWS_VAR_FILE")
        # The later one wins.
        self._variables = [VARIABLES, *([(ROOT / further).resolve()] if further else [])]
        self._plugins = environ.get("TF_PLUGIN_DIR")
        self._environment = {
            # Nothing of a real account, whatever the developer is logged in to.
            **{name: text for name, text in environ.items() if not name.startswith("AWS_")},
            **CREDENTIALS,
            "TF_DATA_DIR": str(folder / "terraform"),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            **{f"TF_VAR_{name}": text for name, text in values.items()},
        }

    def init(self) -> None:
        """Install the provider."""
        plugins = [f"-plugin-dir={self._plugins}"] if self._plugins else []
        try:
            self.run("init", *plugins)
        except StackError as error:
            raise StackError(f"{error}\n{NO_PROVIDER}") from error

    def apply(self) -> None:
        """Make everything as the module says."""
        self.run("apply", "-auto-approve", *self._files())

    def plan(self, *, refresh: bool = True) -> dict[str, set[str]]:
        """Say what another apply would change: the attributes by the address of the resource."""
        plan = str(self._folder / "plan")
        self.run("plan", f"-refresh={str(refresh).lower()}", f"-out={plan}", *self._files())
        content = json.loads(self.run("show", "-json", plan))
        changes = {item["address"]: item["change"] for item in content["resource_changes"]}
        return {
            address: _changed(change)
            for address, change in changes.items()
            if change["actions"] not in (["no-op"], ["read"])
        }

    def destroy(self) -> None:
        """Remove everything."""
        self.run("apply", "-destroy", "-auto-approve", *self._files())

    def outputs(self) -> dict[str, Any]:
        """Give the outputs by name."""
        content = json.loads(self.run("output", "-json", f"-state={self._state}"))
        return {name: item["value"] for name, item in content.items()}

    def resources(self) -> list[str]:
        """Give the address of every resource in the state."""
        if not self._state.exists():
            return []
        listed = self.run("state", "list", f"-state={self._state}").splitlines()
        return [address for address in listed if ".data." not in f".{address}"]

    def forget(self) -> None:
        """Drop the state: the emulator that held the resources is gone."""
        self._state.unlink(missing_ok=True)

    def run(self, *arguments: str) -> str:
        """Run a command of Terraform; its output. Raises StackError."""
        done = self._call(*arguments)
        if done.returncode != 0:
            # The end tells; before it is the whole plan.
            said = (done.stderr or done.stdout)[-4000:]
            raise StackError(f"terraform {arguments[0]} failed:\n{said}")
        return done.stdout

    def _files(self) -> list[str]:
        files = [f"-var-file={path}" for path in self._variables]
        return [f"-state={self._state}", *files, "-parallelism=6"]

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("terraform")
        if program is None:
            raise StackError("terraform (1.11 or newer) is not installed")
        command = [program, f"-chdir={MODULE}", *arguments]
        if arguments[0] in ("init", "plan", "apply"):
            command.append("-no-color")
        return subprocess.run(  # noqa: S603 - no shell, our own arguments
            command, env=self._environment, capture_output=True, text=True, check=False
        )


def _changed(change: Mapping[str, Any]) -> set[str]:
    if causes := change.get("replace_paths"):
        # What is made anew is unknown in all its parts; these are why.
        return {path[0] for path in causes}
    before, after = (change[name] or {} for name in ("before", "after"))
    names = {*before, *after, *change["after_unknown"]}
    return {name for name in names if before.get(name) != after.get(name)}


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
        names = ("SYNC_QUEUE_URL", "SYNC_DLQ_URL")
        self.environ = {name: text for name, text in environ.items() if name not in names}
        self._say = say

    # ---- the commands ----

    def up(self) -> AwsInfo:
        """Start, package, apply. Raises StackError; what was started keeps running."""
        if (MODULE / "backend.tf").exists():
            raise StackError("terraform/backend.tf leads to a real account's state: move it away")
        with processes.locked(self.run_dir / "lock"):
            state = self._load()
            emulator = self._start(state)
            self._say("packaging the functions ...")
            architecture = MACHINES[platform.machine()]
            try:
                package(architecture, running_python(), self.run_dir / "dist", measured=False)
            except PackageError as error:
                raise StackError(str(error)) from error
            terraform = self.terraform(state)
            terraform.init()
            if state.applied_to != emulator:
                terraform.forget()
                state.applied_to = emulator
                self._save(state)
            self._say("terraform apply ...")
            began = time.monotonic()
            terraform.apply()
            return self._write_info(state, terraform, time.monotonic() - began)

    def down(self) -> None:
        """Destroy, stop, remove the folder. Raises StackError if something could not be destroyed.

        Whatever comes of it, nothing is left running.
        """
        if not (self.run_dir / "state.json").exists():
            return
        with processes.locked(self.run_dir / "lock"):
            state = self._load()
            try:
                self._destroy(state)
            finally:
                processes.stop_all(list(state.processes.values()), STOP_SECONDS)
                state.processes = {}
                self._save(state)
            shutil.rmtree(self.run_dir)

    def destroy(self) -> None:
        """Destroy what was applied; the servers go on running. Raises StackError."""
        with processes.locked(self.run_dir / "lock"):
            self._destroy(self._load())

    def _destroy(self, state: State) -> None:
        terraform = self.terraform(state)
        # What an emulator held that has ended is gone with it.
        if terraform.resources() and self._emulator(state) == state.applied_to:
            self._say("terraform destroy ...")
            terraform.destroy()
            if left := terraform.resources():
                raise StackError(f"not destroyed: {', '.join(left)}")

    def secret(self) -> str:
        """Give the secret that tokens are signed with."""
        return self._load().secret

    def terraform(self, state: State | None = None) -> Terraform:
        """Give Terraform, set up for this stack."""
        state = state or self._load()
        where = self._where(state)
        content = {"MONGODB_URI": where.mongodb, "CATALOG_JWT_SECRET": state.secret}
        values = {
            "endpoint": self._endpoint(state),
            "artifacts": os.path.relpath(self.run_dir / "dist", MODULE),
            "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "architecture": MACHINES[platform.machine()],
            "nats_url": where.nats,
            "supply_chain_url": where.supply_chain,
            "secrets": json.dumps(content),
        }
        return Terraform(self.run_dir, self.environ, values)

    # ---- the servers ----

    def _names(self) -> list[str]:
        """The servers that are ours to start; `sqs` is the emulator as a whole."""
        given = {"sqs"} if self.environ.get("EMULATOR_URL") else set()
        return [name for name in embedded_servers(self.environ) if name not in given]

    def _start(self, state: State) -> str:
        """Start what is not running; the identity of the emulator."""
        for name, process in list(state.processes.items()):
            if not processes.alive(process):
                processes.kill_group(process)
                del state.processes[name]
        for name in self._names():
            remembered = state.ports.get(name)
            if name not in state.processes and not (
                remembered and processes.port_is_free(remembered)
            ):
                state.ports[name] = processes.free_port(set(state.ports.values()))
        given = self.environ.get("EMULATOR_URL")
        state.endpoint = given or f"http://{HOST}:{state.ports['sqs']}"
        state.secret = state.secret or secrets.token_urlsafe(48)
        self._save(state)
        where = self._where(state)
        services = {name: self._service(name, state, where) for name in self._names()}
        for name, service in services.items():
            if name not in state.processes:
                log = self.run_dir / "logs" / f"{name}.log"
                log.parent.mkdir(exist_ok=True)
                state.processes[name] = processes.spawn(
                    service.command, service.environment, log, ROOT, service.fingerprint
                )
                # At once, so that nothing runs that `down` does not know.
                self._save(state)
        for name, service in services.items():
            self._wait(name, state.processes[name], service)
        return self._emulator(state)

    def _service(self, name: str, state: State, where: Endpoints) -> Service:
        if name != "sqs":
            return server_service(name, state.ports[name], self.run_dir, self.environ, where)
        temporary = self.run_dir / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = without_settings(self.environ) | {
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(state.ports["sqs"]),
            "MINISTACK_HOST": HOST,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # It asks IAM about each call, as AWS does.
            "AUTH": "true",
            # Here the Lambdas' code is unpacked.
            "TMPDIR": str(temporary),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": f"{HOST},localhost",
            "no_proxy": f"{HOST},localhost",
        }
        health = f"{self._endpoint(state)}/_ministack/health"
        return Service((emulator(),), environment, lambda: http_missing(health))

    def _wait(self, name: str, process: Process, service: Service) -> None:
        missing: str | None = "not asked yet"

        def settled() -> bool:
            nonlocal missing
            missing = service.missing() if service.missing else None
            return missing is None or not processes.alive(process)

        if not processes.poll(settled, READY_SECONDS) or not processes.alive(process):
            log = self.run_dir / "logs" / f"{name}.log"
            raise StackError(f"{name} is not ready: {missing}; its log is {log}")

    def _endpoint(self, state: State) -> str:
        return self.environ.get("EMULATOR_URL") or state.endpoint

    def _emulator(self, state: State) -> str:
        """What tells this emulator from one that was started anew, and so is empty."""
        process = state.processes.get("sqs")
        return process.identity if process else self._endpoint(state)

    def _where(self, state: State) -> Endpoints:
        ports = {name: state.ports.get(name, 0) for name in self._names()}
        return endpoints(self.environ, {**ports, "sqs": ports.get("sqs", 0), "api": 0})

    # ---- what is remembered ----

    def _load(self) -> State:
        path = self.run_dir / "state.json"
        if not path.exists():
            return State()
        content = json.loads(path.read_text())
        known = {name: Process(**item) for name, item in content["processes"].items()}
        return State(**{**content, "processes": known})

    def _save(self, state: State) -> None:
        write_private(self.run_dir / "state.json", json.dumps(asdict(state), indent=2))

    def _write_info(self, state: State, terraform: Terraform, seconds: float) -> AwsInfo:
        outputs, where = terraform.outputs(), self._where(state)
        info = AwsInfo(
            api=outputs["api_url"],
            token=sign_token(state.secret),
            endpoint=self._endpoint(state),
            supplyChain=where.supply_chain,
            mongodb=where.mongodb,
            nats=where.nats,
            queueUrl=outputs["queue_url"],
            dlqUrl=outputs["dlq_url"],
            secretArn=outputs["secret_arn"],
            functions=outputs["functions"],
            resources=len(terraform.resources()),
            applySeconds=round(seconds, 1),
            processes={name: process.pid for name, process in state.processes.items()},
        )
        write_private(self.run_dir / "stack.json", json.dumps(info, indent=2) + "\n")
        return info


def emulator() -> str:
    """Find the emulator's program, which lives apart. Raises StackError."""
    program = Path(f"{sys.prefix}-ministack") / "bin" / "ministack"
    if not program.exists():
        raise StackError(f"{program} is missing: make aws-up installs it")
    return str(program)


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
