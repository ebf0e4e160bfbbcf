"""The embedded stack: `python -m embedded.stack up|down|clean|status`.

Real servers without Docker (MongoDB wire, NATS JetStream, SQS, the fake supply chain) and our own
four roles, in the background; `embedded.services` says what each of them is. `up` starts what is
not running, with the data it had, restarts a role whose settings have changed, and writes
`.run/stack.json` (see `StackInfo`). It does not notice changed code: run `down` first.

Settings in the environment win. With MONGODB_URI, NATS_URL, SUPPLY_CHAIN_URL, or SYNC_QUEUE_URL
and SYNC_DLQ_URL set, the embedded server for it is not started; `up` fails if that MongoDB does not
answer, and warns if another one does not. Besides the settings of the
product there are:

    PORT                       of the API, default 8000
    SUPPLY_CHAIN_FAILURE_RATE  of the embedded fake supply chain, 0 to 1; it starts with 0, and
                               keeps what it was set to last
    MONGOD                     the mongod to run, default: the one on the PATH; empty: SecantusDB,
                               as without any (see `with_store` about stacks that have data)
    RUN_DIR                    folder of all state, default .run, relative to the project: another
                               folder is another stack, which can run beside the first

Errors that the user can fix are `StackError`s and `SettingsError`s: exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypedDict

from catalogctl.tokens import Scope, sign
from chalicelib.settings import SettingsError, read_settings
from embedded.processes import free_port
from embedded.reports import (
    address_of,
    api_state,
    changes,
    console_link,
    need_mongodb,
    warnings,
)
from embedded.servers import ServerProcesses, write_private
from embedded.services import (
    ROLES,
    ROOT,
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
    metrics_ports,
    migrate,
    role_settings,
    set_up_supply_chain,
    store_name,
    with_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from chalicelib.settings import Settings


class StackInfo(TypedDict):
    """The content of stack.json. `processes` holds pids by name, of what we started ourselves.

    `jwtSecret` signs further tokens; it and `token` are empty if a key set is configured.
    `store` says which server `mongodb` is: mongod and its path, SecantusDB, or "of MONGODB_URI".
    `natsPrefix` is empty unless NATS_PREFIX is set.
    `bulkQueueUrl` is empty if the queues are given and this one is not.
    """

    api: str
    token: str
    jwtSecret: str
    supplyChain: str
    mongodb: str
    store: str
    nats: str
    natsPrefix: str
    sqs: str
    queueUrl: str
    bulkQueueUrl: str
    dlqUrl: str
    processes: dict[str, int]


def directly(_: str, where: Endpoints) -> Endpoints:
    """Give the addresses of the servers themselves."""
    return where


class Stack:
    """One embedded stack: the processes whose state is under `run_dir`.

    `environ` holds the settings (see the module's text); `say` takes progress lines; `route` gives
    the addresses that a role is to use, see `network.Links`.
    """

    def __init__(
        self,
        run_dir: Path,
        environ: Mapping[str, str],
        say: Callable[[str], None] = print,
        route: Callable[[str, Endpoints], Endpoints] = directly,
    ) -> None:
        self.run_dir = (ROOT / run_dir).resolve()
        self.environ = dict(environ)
        self.route = route
        self._say = say

    # ---- the commands ----

    def up(self) -> StackInfo:
        """Start what is not running as wanted; return when all of it is ready.

        Raises StackError, or SettingsError before anything is started. What has been started by
        then keeps running, for another `up` to use.
        """
        with self._locked() as running:
            running.forget_the_dead()
            environ = with_store(self.environ, self.run_dir, self._say)
            servers, rate = embedded_servers(environ), failure_rate(environ)
            ports = self._choose_ports(running, servers)
            where, secret = endpoints(environ, ports), self._secret(running)
            settings = {
                role: role_settings(environ, self.route(role, where), secret) for role in ROLES
            }
            for role, port in metrics_ports(environ).items():
                settings[role]["METRICS_PORT"] = str(port)
            # With the rest of the environment, for the names that no role is given.
            checked = read_settings(environ | settings["sync"])
            if "mongodb" not in servers:
                need_mongodb(where.mongodb)
            services = all_services(environ, self.run_dir, ports, where, settings)
            self._stop_the_stale(running, services)
            running.ports |= ports
            running.start({name: services[name] for name in servers})
            if "sqs" in servers:
                create_queues(where.sqs, checked)
            if "supplyChain" in servers:
                set_up_supply_chain(where.supply_chain, rate, checked.signing_secrets)
            if any(name not in running for name in ROLES):
                migrate(role_settings(environ, where, secret), environ)
            running.start({name: services[name] for name in ROLES})
            for warning in warnings(servers, where):
                self._say(f"warning: {warning}")
            return self._write_info(running, where, checked, _store(environ))

    def down(self) -> list[str]:
        """Stop everything, keep the data. Return the names of what was running."""
        with self._locked() as running:
            return self._down(running)

    def clean(self) -> None:
        """Stop everything and remove the folder."""
        if not self.run_dir.exists():
            return
        if ROOT.is_relative_to(self.run_dir) or not (self.run_dir / "state.json").exists():
            raise StackError(f"{self.run_dir} is not a folder of a stack alone: it is not removed")
        with self._locked() as running:
            self._down(running)
            shutil.rmtree(self.run_dir)

    def status(self) -> dict[str, int | None]:
        """Give the pid of everything that `up` has started, by name; None if it has ended."""
        return ServerProcesses(self.run_dir).pids()

    def info(self) -> StackInfo | None:
        """Give what `up` has written; None if there is no stack, or it was never whole."""
        path = self.run_dir / "stack.json"
        info: StackInfo | None = json.loads(path.read_text()) if path.exists() else None
        return info

    def stop(self, name: str) -> None:
        """Stop one process gracefully. `up` starts it again."""
        with self._locked() as running:
            running.stop([name])

    def kill(self, name: str) -> None:
        """SIGKILL one process, as the kernel might: only it, not its children."""
        ServerProcesses(self.run_dir).kill(name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[ServerProcesses]:
        """Hold the folder's lock. Raises StackError if it cannot be the folder of a stack."""
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            (self.run_dir / "lock").touch()
        except FileExistsError:
            text = f"RUN_DIR: {self.run_dir} is a file; name a folder, which may be missing"
            raise StackError(text) from None
        except OSError as error:
            text = f"RUN_DIR: {self.run_dir} cannot be written to ({error.strerror})"
            raise StackError(f"{text}; name a folder of your own") from None
        with ServerProcesses.locked(self.run_dir) as running:
            yield running

    def _down(self, running: ServerProcesses) -> list[str]:
        pids = running.pids()
        _stop(running, pids)
        # The folder now belongs to a stack, also if nothing has run in it.
        running.save()
        (self.run_dir / "stack.json").unlink(missing_ok=True)
        return [name for name, pid in pids.items() if pid]

    # ---- the parts of up ----

    def _secret(self, running: ServerProcesses) -> str:
        """Give the secret that tokens are signed with; none if a key set is configured instead."""
        given = self.environ.get("CATALOG_JWT_SECRET")
        if given or self.environ.get("CATALOG_JWKS_URL"):
            return given or ""
        return running.notes.setdefault("secret", secrets.token_urlsafe(48))

    def _choose_ports(self, running: ServerProcesses, servers: Collection[str]) -> dict[str, int]:
        """Choose the ports of all servers and of the API.

        Raises StackError when the port of the API is taken: that one is for the user to choose.
        """
        port = api_port(self.environ)
        if not running.can_have("api", port):
            other = free_port()
            raise StackError(f"port {port} is taken by another program: PORT={other} is free")
        metrics = {f"metrics of {role}": it for role, it in metrics_ports(self.environ).items()}
        return running.choose_ports(servers, {"api": port, **metrics})

    def _stop_the_stale(self, running: ServerProcesses, services: Mapping[str, Service]) -> None:
        """Stop what is not wanted any more, or runs with other settings than wanted."""
        if stale := running.stale(services):
            self._say(f"stopping, since its settings have changed: {', '.join(stale)}")
            _stop(running, stale)

    def _write_info(
        self, running: ServerProcesses, where: Endpoints, settings: Settings, store: str
    ) -> StackInfo:
        pids, secret = running.pids(), settings.jwt_secret
        named = (settings.jwt_issuer, settings.jwt_audience)
        info = StackInfo(
            api=where.api,
            token=sign_token(secret, *named) if secret else "",
            jwtSecret=secret or "",
            supplyChain=where.supply_chain,
            mongodb=where.mongodb,
            store=store,
            nats=where.nats,
            natsPrefix=self.environ.get("NATS_PREFIX", ""),
            sqs=where.sqs,
            queueUrl=where.queue,
            bulkQueueUrl=where.bulk_queue,
            dlqUrl=where.dlq,
            processes={name: pid for name in (*ROLES, *SERVERS) if (pid := pids.get(name))},
        )
        write_private(self.run_dir / "stack.json", json.dumps(info, indent=2) + "\n")
        return info


def _store(environ: Mapping[str, str]) -> str:
    if environ.get("MONGODB_URI"):
        return "of MONGODB_URI"
    return " ".join(filter(None, (store_name(environ), environ["MONGOD"])))


def _stop(running: ServerProcesses, names: Collection[str]) -> None:
    # The roles first: they need the servers to finish their current work.
    for group in (ROLES, SERVERS):
        running.stop([name for name in names if name in group])


def sign_token(secret: str, issuer: str | None = None, audience: str | None = None) -> str:
    """Make a developer's token with every scope, good for 30 days."""
    until = datetime.now(UTC) + timedelta(days=30)
    return sign(secret, Scope, "developer", until, issuer, audience)


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


def addresses(stack: Stack, info: StackInfo) -> dict[str, str]:
    """Say where everything is, without passwords."""
    return {
        "API": f"{info['api']}  (documentation: {info['api']}/docs)",
        "console": console_link(info["api"], ""),
        "supply chain": address_of(info["supplyChain"]),
        "MongoDB": f"{address_of(info['mongodb'])}  ({info['store']})",
        "NATS": address_of(info["nats"]),
        "SQS": info["queueUrl"],
        "logs": str(stack.run_dir / "logs"),
    }


def _print(rows: Mapping[str, str]) -> None:
    for name, value in rows.items():
        print(f"{name:14}{value}")


def _up(stack: Stack) -> None:
    before = stack.status()
    info = stack.up()
    for line in changes(before, info["processes"]):
        print(line)
    token = info["token"] or "none: CATALOG_JWKS_URL names who signs"
    link = console_link(info["api"], info["token"])
    _print(addresses(stack, info) | {"console": link, "token": token})


def _status(stack: Stack) -> int:
    """Print what runs, where, and whether the API is ready; give 1 if something is missing."""
    pids, info = stack.status(), stack.info()
    if not pids:
        print(f"no stack runs in {stack.run_dir}: make up starts one")
        return 1
    wanted = {*pids, *(info["processes"] if info else ())}
    ordered = [name for name in (*SERVERS, *ROLES) if name in wanted]
    _print(
        {name: f"running, pid {pid}" if (pid := pids.get(name)) else "ended" for name in ordered}
    )
    if info is None:
        print("the last make up has not come to its end: run it again")
        return 1
    state, dependencies = api_state(info["api"])
    away = ", ".join(f"{name}: {it}" for name, it in dependencies.items() if it != "ok")
    _print(addresses(stack, info) | {"ready": f"{state} ({away})" if away else state})
    if not all(pids.get(name) for name in wanted):
        print("something is missing: make up starts it again")
        return 1
    if state not in {"ok", "degraded"}:
        print(f"everything runs, but no write is accepted: see {stack.run_dir}/logs")
        return 1
    return 0


def run(command: str, stack: Stack) -> int:
    """Run one command and print its result; exit code 1 if `status` finds something missing."""
    if command == "up":
        _up(stack)
    elif command == "down":
        print("stopped:", ", ".join(stack.down()) or "nothing was running")
    elif command == "clean":
        stack.clean()
        print(f"removed {stack.run_dir}")
    else:
        return _status(stack)
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
