"""The embedded stack: `python -m embedded.stack up|down|clean|status`.

Real servers without Docker (MongoDB wire, NATS JetStream, SQS, the fake supply chain) and our own
four roles, in the background; `embedded.services` says what each of them is. `up` starts what is
not running, with the data it had, restarts a role whose settings have changed, and writes
`.run/stack.json` (see `StackInfo`). It does not notice changed code: `down` first.

Settings in the environment win. With MONGODB_URI, NATS_URL, SUPPLY_CHAIN_URL, or SYNC_QUEUE_URL
and SYNC_DLQ_URL set, the embedded server for it is not started. Besides the settings of the
product there are:

    PORT                       of the API, default 8000
    SUPPLY_CHAIN_FAILURE_RATE  of the embedded fake supply chain, 0 to 1; it starts with 0, and
                               keeps what it was set to last
    RUN_DIR                    folder of all state, default .run, relative to the project: another
                               folder is another stack, which can run beside the first

Errors that a person can mend are `StackError`s and `SettingsError`s: exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypedDict

import jwt

from chalicelib.settings import SettingsError, read_settings
from embedded import processes
from embedded.processes import Process
from embedded.services import (
    ROLES,
    SERVERS,
    Endpoints,
    Service,
    StackError,
    all_services,
    api_port,
    create_queues,
    embedded_servers,
    endpoints,
    failure_rate,
    role_settings,
    set_failure_rate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

ROOT = Path(__file__).resolve().parent.parent
TOKEN_SECONDS = 30 * 24 * 3600
READY_SECONDS = 60.0
SETTLE_SECONDS = 1.0
STOP_SECONDS = 15.0


class StackInfo(TypedDict):
    """The content of stack.json. `processes` holds pids by name, of what we started ourselves."""

    api: str
    token: str
    supplyChain: str
    mongodb: str
    nats: str
    sqs: str
    queueUrl: str
    dlqUrl: str
    processes: dict[str, int]


@dataclass
class State:
    """What is remembered between commands: ports and processes by name, the tokens' secret."""

    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    secret: str = ""


class Stack:
    """One embedded stack: the processes whose state is under `run_dir`.

    `environ` holds the settings (see the module's text); `say` takes progress lines.
    """

    def __init__(
        self, run_dir: Path, environ: Mapping[str, str], say: Callable[[str], None] = print
    ) -> None:
        self.run_dir = (ROOT / run_dir).resolve()
        self.environ = dict(environ)
        self._say = say

    # ---- the commands ----

    def up(self) -> StackInfo:
        """Start what is not running as wanted; return when all of it is ready.

        Raises StackError, or SettingsError before anything is started. What has been started by
        then keeps running, for another `up` to use.
        """
        with processes.locked(self.run_dir / "lock"):
            state = self._load()
            self._forget_the_dead(state)
            servers, rate = embedded_servers(self.environ), failure_rate(self.environ)
            ports = self._choose_ports(state, servers)
            where, secret = endpoints(self.environ, ports), self._secret(state)
            settings = role_settings(self.environ, where, secret)
            checked = read_settings(settings)
            services = all_services(self.environ, self.run_dir, ports, where, settings)
            self._stop_the_stale(state, services)
            state.ports |= ports
            self._start(state, services, servers)
            if "sqs" in servers:
                create_queues(where.sqs, checked)
            if "supplyChain" in servers and rate is not None:
                set_failure_rate(where.supply_chain, rate)
            self._start(state, services, ROLES)
            return self._write_info(state, where, secret)

    def down(self) -> list[str]:
        """Stop everything, keep the data. Return the names of what was running."""
        with processes.locked(self.run_dir / "lock"):
            return self._down()

    def clean(self) -> None:
        """Stop everything and remove the folder."""
        if not self.run_dir.exists():
            return
        if ROOT.is_relative_to(self.run_dir) or not (self.run_dir / "state.json").exists():
            raise StackError(f"{self.run_dir} is not a folder of a stack alone: it is not removed")
        with processes.locked(self.run_dir / "lock"):
            self._down()
            shutil.rmtree(self.run_dir)

    def status(self) -> dict[str, int | None]:
        """Give the pid of everything that `up` has started, by name; None if it has ended."""
        return {
            name: process.pid if processes.alive(process) else None
            for name, process in self._load().processes.items()
        }

    def stop(self, name: str) -> None:
        """Stop one process gracefully. `up` starts it again."""
        processes.stop_all([self._load().processes[name]], STOP_SECONDS)

    def kill(self, name: str) -> None:
        """SIGKILL one process, as the kernel might: only it, not its children."""
        process = self._load().processes[name]
        if processes.alive(process):
            os.kill(process.pid, signal.SIGKILL)
        processes.poll(lambda: not processes.alive(process), seconds=5)

    def _down(self) -> list[str]:
        state = self._load()
        running = [name for name, process in state.processes.items() if processes.alive(process)]
        self._stop(state, list(state.processes))
        (self.run_dir / "stack.json").unlink(missing_ok=True)
        return running

    # ---- what is remembered ----

    def _load(self) -> State:
        path = self.run_dir / "state.json"
        if not path.exists():
            return State()
        content = json.loads(path.read_text())
        known = {name: Process(**process) for name, process in content["processes"].items()}
        return State(content["ports"], known, content.get("secret", ""))

    def _save(self, state: State) -> None:
        write_private(self.run_dir / "state.json", json.dumps(asdict(state), indent=2))

    def _secret(self, state: State) -> str:
        """Give the secret that tokens are signed with; none if a key set is configured instead."""
        given = self.environ.get("CATALOG_JWT_SECRET")
        if given or self.environ.get("CATALOG_JWKS_URL"):
            return given or ""
        state.secret = state.secret or secrets.token_urlsafe(48)
        return state.secret

    def _choose_ports(self, state: State, servers: Collection[str]) -> dict[str, int]:
        """Keep the ports of what runs and remembered ports that are still free; else take new ones.

        Raises StackError when the port of the API is taken: that one is for the user to choose.
        """
        port = api_port(self.environ)
        held = "api" in state.processes and state.ports["api"] == port
        if not held and not _released(port):
            other = processes.free_port()
            raise StackError(f"port {port} is taken by another program: PORT={other} is free")
        ports = {"api": port}
        for name in servers:
            port = state.ports.get(name, 0)
            if not port or not (name in state.processes or _released(port)):
                port = processes.free_port({*ports.values(), *state.ports.values()})
            ports[name] = port
        return ports

    def _write_info(self, state: State, where: Endpoints, secret: str) -> StackInfo:
        order = [name for name in (*ROLES, *SERVERS) if name in state.processes]
        info = StackInfo(
            api=where.api,
            token=sign_token(secret) if secret else "",
            supplyChain=where.supply_chain,
            mongodb=where.mongodb,
            nats=where.nats,
            sqs=where.sqs,
            queueUrl=where.queue,
            dlqUrl=where.dlq,
            processes={name: state.processes[name].pid for name in order},
        )
        write_private(self.run_dir / "stack.json", json.dumps(info, indent=2) + "\n")
        return info

    # ---- starting and stopping ----

    def _start(self, state: State, services: Mapping[str, Service], names: Collection[str]) -> None:
        """Start those of these that do not run; return when all are ready.

        Raises StackError, with the end of its log, if one of them ends instead. One that cannot be
        asked whether it is ready is watched until the others are, and a moment longer.
        """
        started = [name for name in names if name not in state.processes]
        for name in started:
            self._spawn(state, name, services[name])
        deadline = time.monotonic() + READY_SECONDS
        while missing := self._missing(state, services, names):
            if time.monotonic() > deadline:
                raise StackError(missing)
            time.sleep(0.05)
        if any(services[name].missing is None for name in started):
            time.sleep(SETTLE_SECONDS)
            self._missing(state, services, names)

    def _missing(
        self, state: State, services: Mapping[str, Service], names: Collection[str]
    ) -> str:
        """Say what keeps the first that is not ready. Raises StackError if one has ended."""
        for name in names:
            if not processes.alive(state.processes[name]):
                raise StackError(
                    f"{name} has ended at once; its log ends with:\n{self._tail(name)}"
                )
        for name in names:
            ask = services[name].missing
            if ask and (answer := ask()):
                return f"{name} is not ready: {answer}; its log is {self._log(name)}"
        return ""

    def _spawn(self, state: State, name: str, service: Service) -> None:
        self._log(name).parent.mkdir(parents=True, exist_ok=True)
        state.processes[name] = processes.spawn(
            service.command, service.environment, self._log(name), ROOT, service.fingerprint
        )
        # At once, so that a process is never running unknown to `down`.
        self._save(state)

    def _forget_the_dead(self, state: State) -> None:
        # Stopped too: workers that outlived their master would hold its port.
        self._stop(state, [name for name, it in state.processes.items() if not processes.alive(it)])

    def _stop_the_stale(self, state: State, services: Mapping[str, Service]) -> None:
        """Stop what is not wanted any more, or runs with other settings than wanted."""
        stale = [
            name
            for name, process in state.processes.items()
            if name not in services or services[name].fingerprint != process.fingerprint
        ]
        if stale:
            self._say(f"stopping, since its settings have changed: {', '.join(stale)}")
            self._stop(state, stale)

    def _stop(self, state: State, names: Collection[str]) -> None:
        # The roles first: they finish what they have in hand, and need the servers for that.
        for group in (ROLES, SERVERS):
            chosen = [name for name in names if name in group]
            processes.stop_all([state.processes.pop(name) for name in chosen], STOP_SECONDS)
        self._save(state)

    def _log(self, name: str) -> Path:
        return self.run_dir / "logs" / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").splitlines()[-15:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing)"


def _released(port: int) -> bool:
    """Tell whether a port is free, waiting a little for a process that is still dying."""
    return processes.poll(lambda: processes.port_is_free(port), seconds=3)


def sign_token(secret: str) -> str:
    """Make a developer's token with every scope, good for 30 days."""
    claims = {
        "sub": "developer",
        "scope": "products:read products:write sync:admin",
        "exp": int(time.time()) + TOKEN_SECONDS,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    draft = path.with_name(path.name + ".new")
    # Its folder may have gone: `clean` can have held the lock before us.
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


# ---- a stack for one purpose ----


def on_own_stack(
    purpose: str,
    environ: Mapping[str, str],
    work: Callable[[Stack], None],
    expected: tuple[type[Exception], ...],
) -> int:
    """Do work on a stack in a temporary folder, stopped in any case; give the exit code.

    `work` starts it. The `expected` errors are told in a line; the logs stay unless all went well.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    stack = Stack(Path(tempfile.mkdtemp(prefix=f"catalog-{purpose}-")), environ)
    try:
        print("starting the embedded stack ...", flush=True)
        work(stack)
    except expected as error:
        print(f"error: {error}; logs are in {stack.run_dir / 'logs'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; logs are in {stack.run_dir / 'logs'}", file=sys.stderr)
        return 130
    finally:
        # A second Ctrl-C must not leave the stack running.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stack.down()
    shutil.rmtree(stack.run_dir)
    return 0


def _terminated(*_: object) -> NoReturn:
    # As for Ctrl-C: the stack must be stopped on the way out.
    raise KeyboardInterrupt


# ---- the command line ----


def _print_info(stack: Stack, info: StackInfo) -> None:
    rows = {
        "API": f"{info['api']}  (documentation: {info['api']}/docs)",
        "supply chain": info["supplyChain"],
        "MongoDB": info["mongodb"],
        "NATS": info["nats"],
        "SQS": info["queueUrl"],
        "logs": str(stack.run_dir / "logs"),
        "token": info["token"] or "none: CATALOG_JWKS_URL names who signs",
    }
    for name, value in rows.items():
        print(f"{name:14}{value}")


def run(command: str, stack: Stack) -> int:
    """Do one command and print what came of it; the exit code is 1 if `status` misses something."""
    if command == "up":
        _print_info(stack, stack.up())
    elif command == "down":
        print("stopped:", ", ".join(stack.down()) or "nothing was running")
    elif command == "clean":
        stack.clean()
        print(f"removed {stack.run_dir}")
    else:
        pids = stack.status()
        for name, pid in pids.items():
            print(f"{name:14}{f'running, pid {pid}' if pid else 'ended'}")
        return 0 if pids and all(pids.values()) else 1
    return 0


def main() -> int:
    """Read the command line and the environment; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m embedded.stack", description="embedded stack")
    parser.add_argument("command", choices=("up", "down", "clean", "status"))
    command = parser.parse_args().command
    stack = Stack(Path(os.environ.get("RUN_DIR") or ".run"), os.environ)
    try:
        return run(command, stack)
    except (StackError, SettingsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
