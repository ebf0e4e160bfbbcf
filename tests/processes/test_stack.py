"""The processes of the embedded stack: started, known again, stopped for sure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from embedded import processes, servers
from embedded.processes import Process
from embedded.servers import ServerProcesses
from embedded.services import ROOT, Service, StackError
from tests.support import eventually

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "from signal import *; signal(15, SIG_IGN); print('ready', flush=True); pause()",
]
FORKING = [
    sys.executable,
    "-c",
    "import os, time; print(os.fork(), flush=True); time.sleep(60)",
]
HEADLESS = [
    sys.executable,
    "-c",
    "import ctypes, threading as t; t.Timer(60, print).start(); ctypes.CDLL(None).pthread_exit(0)",
]


def start(command: list[str], folder: Path) -> Process:
    return processes.spawn(command, os.environ, folder / "log", folder, "fingerprint")


def start_sync(folder: Path, program: str) -> None:
    """Start a process with this Python program as the sync role, and stop it again."""
    running = ServerProcesses(folder)
    try:
        running.start({"sync": Service((sys.executable, "-c", program), os.environ)})
    finally:
        running.stop(["sync"])


def test_a_started_process_is_alive(tmp_path: Path) -> None:
    process = start(SLEEPER, tmp_path)
    try:
        assert processes.alive(process)
    finally:
        processes.kill_group(process)


def test_a_stranger_with_a_recycled_pid_is_not_killed(tmp_path: Path) -> None:
    stranger = start(SLEEPER, tmp_path)
    try:
        processes.kill_group(Process(stranger.pid, "another boot/1", ""))
        assert processes.alive(stranger)
    finally:
        processes.kill_group(stranger)


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(SLEEPER) as child:
        process = Process(child.pid, processes.identify(child.pid) or "", "")
        # Nobody waits for it, so that it stays a zombie.
        child.kill()
        eventually(lambda: not processes.alive(process), 5, "still alive")


@pytest.mark.skipif(sys.platform != "linux", reason="allowed in CI: /proc shows it as a zombie")
def test_a_process_whose_first_thread_has_ended_is_alive(tmp_path: Path) -> None:
    process = start(HEADLESS, tmp_path)
    try:
        shown = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: processes.parse_stat(shown.read_text())[0] == "Z", 10, "still headed")
        assert processes.alive(process)
    finally:
        processes.kill_group(process)
    assert not processes.alive(process)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = start(STUBBORN, tmp_path)
    eventually(lambda: "ready" in (tmp_path / "log").read_text(), 10, "never started")
    processes.stop_all([process], seconds=0.2)
    assert not processes.alive(process)


def test_a_child_that_outlives_its_killed_parent_is_killed_with_its_group(tmp_path: Path) -> None:
    process = start(FORKING, tmp_path)
    # Parent and child each print what fork gave them: the child's pid, and 0.
    log = tmp_path / "log"
    eventually(lambda: len(log.read_text().split()) == 2, 10, "never started")
    child = max(map(int, log.read_text().split()))
    os.kill(process.pid, 9)
    eventually(lambda: not processes.alive(process), 5, "still alive")
    processes.kill_group(process)
    eventually(lambda: processes.identify(child) is None, 5, "the child is left over")


def test_a_port_that_another_process_has_chosen_is_reserved_until_that_process_ends() -> None:
    choose = "from embedded import processes; print(processes.free_port(), flush=True); input()"
    command = [sys.executable, "-c", choose]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        while_it_runs = processes.reserve_port(port)
        other.kill()
    assert (while_it_runs, processes.reserve_port(port)) == (False, True)


def test_a_role_that_ends_at_once_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"(?s)sync has ended at once.*no module named x"):
        start_sync(tmp_path, "raise SystemExit('no module named x')")


def test_a_role_that_ends_soon_after_its_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="sync has ended at once"):
        start_sync(tmp_path, "import time; time.sleep(0.3)")


def test_a_role_that_stays_is_started(tmp_path: Path) -> None:
    start_sync(tmp_path, "import time; time.sleep(60)")


def test_a_started_process_is_known_to_the_next_command(tmp_path: Path) -> None:
    running = ServerProcesses(tmp_path)
    running.notes["secret"] = "kept"
    try:
        running.start({"nats": Service(tuple(SLEEPER), os.environ)})
        later = ServerProcesses(tmp_path)
        assert later.pids() == running.pids()
        assert later.notes == {"secret": "kept"}
    finally:
        running.stop(["nats"])
    assert ServerProcesses(tmp_path).pids() == {}


def test_a_server_that_is_not_ready_in_time_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "READY_SECONDS", 0)
    running = ServerProcesses(tmp_path)
    try:
        with pytest.raises(StackError, match=r"nats is not ready: no answer; its log is .*nats"):
            running.start({"nats": Service(tuple(SLEEPER), os.environ, lambda: "no answer")})
    finally:
        running.stop(["nats"])


def test_what_runs_by_another_command_than_wanted_is_stale(tmp_path: Path) -> None:
    wanted = Service(tuple(SLEEPER), os.environ)
    running = ServerProcesses(tmp_path)
    try:
        running.start({"nats": wanted})
        assert running.stale({"nats": wanted}) == []
        assert running.stale({"nats": Service((*SLEEPER, "-v"), os.environ)}) == ["nats"]
        assert running.stale({}) == ["nats"]
    finally:
        running.stop(["nats"])
