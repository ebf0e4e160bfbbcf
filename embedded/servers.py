"""Local server processes: start them, wait until they are ready, stop them.

Their state is in one folder, for the next command: `state.json` (ports, processes, notes),
`logs/NAME.log`, and `lock`, which a command holds while it changes anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedded import processes
from embedded.processes import Process
from embedded.services import ROOT, Service, StackError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

READY_SECONDS = 60.0
SETTLE_SECONDS = 1.0
STOP_SECONDS = 15.0


class ServerProcesses:
    """The server processes of a folder, as its state file knows them when this object is made.

    `ports` has the ports by name, `notes` other texts by name. A process stays in the state after
    its end, until `stop` or `forget_the_dead` also ends the workers that it may have left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = self._state_file
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.ports: dict[str, int] = content.pop("ports", {})
        self._known = {name: Process(**it) for name, it in content.pop("processes", {}).items()}
        self.notes: dict[str, str] = content

    @classmethod
    @contextlib.contextmanager
    def locked(cls, folder: Path) -> Iterator[ServerProcesses]:
        """Hold the folder's lock, and give what its state file says then."""
        with processes.locked(folder / "lock"):
            yield cls(folder)

    # ---- what is known ----

    def __contains__(self, name: object) -> bool:
        """Tell whether a process of this name is known, running or not."""
        return name in self._known

    def pids(self) -> dict[str, int | None]:
        """Give the pid of everything that is known, by name; None if it has ended."""
        return {
            name: process.pid if processes.alive(process) else None
            for name, process in self._known.items()
        }

    def identity(self, name: str) -> str | None:
        """Say which process this is, as text: another one for each start. None if not known."""
        return self._known[name].identity if name in self._known else None

    def stale(self, services: Mapping[str, Service]) -> list[str]:
        """Name what is not among these services, or runs with other settings than they say."""
        return [
            name
            for name, process in self._known.items()
            if name not in services or services[name].fingerprint != process.fingerprint
        ]

    def log(self, name: str) -> Path:
        """Say where the output of a process goes."""
        return self.folder / "logs" / f"{name}.log"

    def save(self) -> None:
        """Write the state file."""
        known = {name: asdict(process) for name, process in self._known.items()}
        content = {"ports": self.ports, "processes": known, **self.notes}
        write_private(self._state_file, json.dumps(content, indent=2))

    # ---- ports ----

    def can_have(self, name: str, port: int) -> bool:
        """Tell whether a process of this name has this port, or could have it."""
        return (name in self and self.ports[name] == port) or _released(port)

    def choose_ports(self, names: Collection[str], taken: Mapping[str, int]) -> dict[str, int]:
        """Keep the ports of what runs, and remembered ports that are still free; else choose.

        `taken` holds ports by name that are decided; the answer begins with them.
        """
        ports = dict(taken)
        for name in names:
            port = self.ports.get(name, 0)
            if not port or not self.can_have(name, port):
                port = processes.free_port({*ports.values(), *self.ports.values()})
            ports[name] = port
        return ports

    # ---- starting and stopping ----

    def start(self, services: Mapping[str, Service]) -> None:
        """Start those of these that are not known; return when all are ready.

        Raises StackError, with the end of its log, if one of them ends instead. One that cannot be
        asked whether it is ready is watched until the others are, and a moment longer.
        """
        started = [name for name in services if name not in self]
        for name in started:
            self._spawn(name, services[name])
        deadline = time.monotonic() + READY_SECONDS
        while missing := self._missing(services):
            if time.monotonic() > deadline:
                raise StackError(missing)
            time.sleep(0.05)
        if any(services[name].missing is None for name in started):
            time.sleep(SETTLE_SECONDS)
            self._missing(services)

    def stop(self, names: Collection[str]) -> None:
        """Stop these together, SIGTERM first, and forget them. Those not known are passed over."""
        known = [name for name in names if name in self]
        processes.stop_all([self._known.pop(name) for name in known], STOP_SECONDS)
        if known:
            self.save()

    def forget_the_dead(self) -> None:
        """Forget ended processes, and stop their workers, which would keep their ports."""
        self.stop([name for name, pid in self.pids().items() if pid is None])

    def kill(self, name: str) -> None:
        """SIGKILL one process, as the kernel might: only it, not its children."""
        process = self._known[name]
        if processes.alive(process):
            os.kill(process.pid, signal.SIGKILL)
        processes.poll(lambda: not processes.alive(process), seconds=5)

    def _spawn(self, name: str, service: Service) -> None:
        self.log(name).parent.mkdir(parents=True, exist_ok=True)
        self._known[name] = processes.spawn(
            service.command, service.environment, self.log(name), ROOT, service.fingerprint
        )
        # At once, so that every running process is in the state.
        self.save()

    def _missing(self, services: Mapping[str, Service]) -> str:
        """Say what keeps the first that is not ready. Raises StackError if one has ended."""
        for name in services:
            if not processes.alive(self._known[name]):
                raise StackError(
                    f"{name} has ended at once; its log ends with:\n{self._tail(name)}"
                )
        for name, service in services.items():
            if service.missing and (answer := service.missing()):
                return f"{name} is not ready: {answer}; its log is {self.log(name)}"
        return ""

    def _tail(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-15:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing)"

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"


def _released(port: int) -> bool:
    """Tell whether a port is free, waiting a little for a process that is ending."""
    return processes.poll(lambda: processes.port_is_free(port), seconds=3)


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    draft = path.with_name(path.name + ".new")
    # The folder may be missing: another command may have removed it while we waited for the lock.
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
