"""Why a command ends without success. Each error has the exit code that scripts decide by."""

from __future__ import annotations


class CommandError(Exception):
    """The command was carried out, but the state is not the one that was asked for."""

    exit_code = 1


class UsageError(CommandError):
    """Wrong usage, a wrong setting, or a file that cannot be used."""

    exit_code = 2


class RefusedError(CommandError):
    """The API refuses the request (4xx), or NATS the credentials."""

    exit_code = 3


class UnavailableError(CommandError):
    """The API cannot be reached, fails (5xx), or is none; the same of NATS."""

    exit_code = 4
