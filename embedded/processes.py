"""The processes of the embedded stack: start, identify and stop them.

A process outlives the command that started it, so it is stored in a file as a `Process`. A pid
alone is not enough: after a crash or a reboot another process may have it. The identity (boot and
start time) distinguishes our process from another one with the same pid.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

# Below the range from which systems take the ports of outgoing connections. In that range a client
# that retries a dead server's port can be given the very same port and so take it from the server.
_PORTS = range(20_000, 32_000)

# The ports that this process has reserved.
_reserved: set[int] = set()

# The processes that this process started itself: they stay zombies until it asks for their end.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    """A started process: pid, `identity` (see `identify`), `fingerprint` of its settings.

    The pid is also the id of its process group, since each is started in a session of its own.
    """

    pid: int
    identity: str
    fingerprint: str


def spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path, fingerprint: str
) -> Process:
    """Start a command in the background, its output appended to `log`.

    It gets a session of its own, so neither Ctrl-C nor closing the terminal reaches it.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    # A command that has ended already gets an identity that no process has.
    return Process(child.pid, identify(child.pid) or f"{_boot()}/ended", fingerprint)


def alive(process: Process) -> bool:
    """Tell whether exactly this process still runs. A zombie does not."""
    return identify(process.pid) == process.identity


def identify(pid: int) -> str | None:
    """Say which process has this pid now, as text to compare; None for no process or a zombie."""
    if pid in _children and _children[pid].poll() is not None:
        del _children[pid]
    found = _look_at(pid)
    # A child that looks like a zombie but cannot be waited for yet has threads that still run.
    if found is None or (found[0] in "ZX" and pid not in _children):
        return None
    return f"{_boot()}/{found[1]}"


def _look_at(pid: int) -> tuple[str, str] | None:
    """Give (state letter, start time): from /proc, or from ps where there is no /proc (macOS)."""
    if Path("/proc/self/stat").exists():
        try:
            return parse_stat(Path(f"/proc/{pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None
    ps = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(ps, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    return parse_ps(answer.stdout)


def parse_stat(text: str) -> tuple[str, str]:
    """Give (state letter, start in clock ticks since boot) from the text of /proc/<pid>/stat."""
    # The command's name comes first, in brackets, and may itself hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def parse_ps(text: str) -> tuple[str, str] | None:
    """Give (state letter, start time) from what `ps -o stat=,lstart=` says; None from nothing."""
    state, _, started = text.strip().partition(" ")
    return (state[0], " ".join(started.split())) if state else None


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def stop_all(processes: Collection[Process], seconds: float) -> None:
    """SIGTERM them all, wait up to `seconds` for all together, SIGKILL what is left of them."""
    for process in processes:
        if alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
    poll(lambda: not any(alive(process) for process in processes), seconds)
    for process in processes:
        kill_group(process)


def kill_group(process: Process) -> None:
    """SIGKILL whatever is left of the process's group, and wait until the process is gone.

    Workers may outlive their killed master and keep its port. The group is not killed if its number
    may belong to another program: then none of our processes is in it.
    """
    same_boot = process.identity.startswith(f"{_boot()}/")
    if not same_boot or identify(process.pid) not in (None, process.identity):
        return
    # macOS says "not permitted" for a group that holds only zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    poll(lambda: not alive(process), seconds=5)


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until the condition holds (True) or the seconds are over (False)."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def free_port(besides: Collection[int] = ()) -> int:
    """Choose a port at random that is free and not reserved, none of `besides`, and reserve it."""
    for port in random.sample(_PORTS, 200):
        if port not in besides and reserve_port(port):
            return port
    raise OSError(f"no free port found between {_PORTS.start} and {_PORTS.stop}")


def reserve_port(port: int) -> bool:
    """Reserve a port until this process ends. False if it is taken, or reserved already.

    To be free is not enough: until its server listens, another process that chooses a port would
    find it free, too. The lock of a byte ends with its process, however that ends.
    """
    if port in _reserved:
        return False
    file = _ports_file()
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    if not port_is_free(port):
        fcntl.lockf(file, fcntl.LOCK_UN, 1, port)
        return False
    _reserved.add(port)
    return True


@functools.cache
def _ports_file() -> int:
    """Open the file, always empty, in which a process locks a byte for each port it reserves."""
    path = Path(tempfile.gettempdir(), f"catalog-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file; wait for it while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
