"""What a process and its children cost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from embedded.delivery_cost import cpu_seconds
from tests.support import eventually

BURNING = "while True: pass"


@pytest.mark.skipif(sys.platform != "linux", reason="allowed in CI: there is no /proc elsewhere")
def test_the_cpu_time_of_a_process_includes_its_children() -> None:
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURNING!r}])"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as parent:
        try:
            eventually(lambda: cpu_seconds()[parent.pid] > 0.3, 20, "no CPU time")
        finally:
            os.killpg(parent.pid, 9)
