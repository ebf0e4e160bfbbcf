"""The command of the migration as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from embedded.services import ROOT
from tests.http import ScriptedServer
from tests.support import eventually
from tests.unit.conftest import ENVIRONMENT


def test_a_stopped_command_ends_at_once_with_1(server: ScriptedServer) -> None:
    # It waits for the answer of a server that gives none.
    uri = f"mongodb://127.0.0.1:{server.port}"
    environment = {"PATH": os.environ["PATH"], **ENVIRONMENT, "MONGODB_URI": uri}
    command = [sys.executable, "-m", "functions.migrate"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        eventually(lambda: server.connections, 30, "it does not connect")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.startswith(b"interrupted")
