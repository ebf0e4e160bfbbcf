"""`python -m catalogctl`."""

from __future__ import annotations

from catalogctl.main import app

app(prog_name="catalogctl")
