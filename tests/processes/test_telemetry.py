"""Logs and metrics of threads that share a pipe."""

from __future__ import annotations

import json
import subprocess
import sys

PARALLEL = """
import threading
from chalicelib import telemetry

def work(name):
    for _ in range(100):
        telemetry.log.info("a line", text=name * 2000)
        telemetry.count(failed=1)

threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
for thread in threads:
    thread.start()
"""


def test_the_lines_of_parallel_threads_do_not_mix_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARALLEL], capture_output=True, text=True, check=True, timeout=60
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum("_aws" in line for line in lines) == 800
    texts = [line["text"] for line in lines if "text" in line]
    assert sorted(texts) == sorted(name * 2000 for name in "abcdefgh" for _ in range(100))
