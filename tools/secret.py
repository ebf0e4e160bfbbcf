"""Puts values into the catalog's secret: `python -m tools.secret SECRET [NAME=FILE ...]`.

    python -m tools.secret product-catalog/settings
        checks what the secret holds, and changes nothing
    python -m tools.secret product-catalog/settings MONGODB_URI=uri.txt NATS_CREDENTIALS=nats.creds
        takes these values from files (`-`: from stdin), and leaves the others
    python -m tools.secret product-catalog/settings CATALOG_JWT_SECRET_PREVIOUS=
        removes one

All values are checked, as a process checks them at its start, before any is put: what no process
could start with stays outside. A new CATALOG_JWT_SECRET or SUPPLY_CHAIN_SIGNING_SECRET keeps the
value of before as …_PREVIOUS, unless that one is named too. Prints names, never a value.

The secret must exist (Terraform makes it); where AWS is, boto3 finds as always. Exit code 1: it is
unchanged, and the reason is told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.jetstream import credentials_of
from chalicelib.settings import (
    ROTATED,
    SECRET_NAMES,
    Settings,
    SettingsError,
    parse_secrets,
    read_settings,
)
from tools.deployment import session

LONGEST = 65_536
"""Bytes that Secrets Manager keeps in one secret."""
Secrets = Mapping[str, str]

# What a process has in its environment; here, examples.
ELSEWHERE = {
    str(field.alias): str(field.examples[0])
    for field in Settings.model_fields.values()
    if field.is_required() and field.alias not in SECRET_NAMES and field.examples
}
A_PROVIDER = {
    "CATALOG_JWKS_URL": "https://idp.example.com/keys",
    "CATALOG_JWT_ISSUER": "https://idp.example.com",
    "CATALOG_JWT_AUDIENCE": "catalog",
}


class RefusedError(Exception):
    """The secret is left as it is; the text says why, without any value."""


# ---- what is to be held ----


def changed(held: Secrets, given: Secrets) -> dict[str, str]:
    """Give what the secret holds after a change; an empty value removes a name.

    Raises RefusedError if a value of before would be lost, whose tokens are still out there.
    """
    wanted = {**held, **given}
    for name in ROTATED:
        previous = f"{name}_PREVIOUS"
        before = held.get(name)
        if before and wanted[name] not in ("", before) and previous not in given:
            if previous in held:
                raise RefusedError(
                    f"{previous} is still there: end that rotation with {previous}= first"
                )
            wanted[previous] = before
    return {name: text for name, text in wanted.items() if text}


def check(secrets: Secrets) -> None:
    """Check the values as a process does. Raises SettingsError, RefusedError."""
    provider = {} if "CATALOG_JWT_SECRET" in secrets else A_PROVIDER
    read_settings({**ELSEWHERE, **provider}, secrets)
    _check_credentials(secrets.get("NATS_CREDENTIALS"))
    if len(json.dumps(secrets).encode()) > LONGEST:
        raise RefusedError(f"the values have more than {LONGEST} bytes together")


def _check_credentials(text: str | None) -> None:
    if text is not None and "-----BEGIN" not in text:
        raise RefusedError("NATS_CREDENTIALS: must be the content of a .creds file")
    try:
        credentials_of(text)
    except ValueError as error:
        raise RefusedError(f"NATS_CREDENTIALS: {error}") from None


def told(held: Secrets, wanted: Secrets) -> list[str]:
    """Say for each name what happens to it."""
    lines = []
    for name in sorted(held.keys() | wanted.keys()):
        before, after = held.get(name), wanted.get(name)
        follows = before is None and after == held.get(name.removesuffix("_PREVIOUS"))
        lines.append(f"{name}: {_act(before, after, follows=follows)}")
    if "CATALOG_JWT_SECRET" not in wanted:
        lines.append("no CATALOG_JWT_SECRET: the processes need CATALOG_JWKS_URL")
    return lines


def _act(before: str | None, after: str | None, *, follows: bool) -> str:
    if before == after:
        return "unchanged"
    if after is None:
        return "removed"
    if follows:
        return "the value of before"
    return "new" if before is None else "changed"


# ---- files, and Secrets Manager ----


def _read(name: str, file: str) -> str:
    """Read a value, without the newline that editors leave at its end."""
    if not file:
        return ""
    try:
        text = (sys.stdin.read() if file == "-" else Path(file).read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{name}: {file} cannot be read: {type(error).__name__}") from None
    if not text:
        raise RefusedError(f"{name}: {file} is empty; {name}= removes it")
    return text


def _held(client: Any, secret: str) -> dict[str, str]:  # noqa: ANN401 - boto3's
    """Read what the secret holds. Raises RefusedError, SettingsError, ClientError."""
    try:
        answer = client.get_secret_value(SecretId=secret)
    except client.exceptions.ResourceNotFoundException as error:
        # As Terraform makes it: the secret, without a value.
        if "AWSCURRENT" in error.response["Error"]["Message"]:
            return {}
        raise RefusedError(
            f"there is no secret {secret} in {client.meta.region_name}: the first terraform apply "
            "makes it, and terraform output secret_name says how it is named"
        ) from None
    # An emulator gives a version without a text to a secret without a value.
    if not answer.get("SecretString") and not answer.get("SecretBinary"):
        return {}
    return parse_secrets(answer.get("SecretString", ""))


def run(secret: str, files: Mapping[str, str]) -> list[str]:
    """Check the secret, with these changes; put them. Give lines for the operator.

    Raises RefusedError, SettingsError, ClientError, BotoCoreError: then nothing was put.
    """
    client = session().client("secretsmanager")
    held = _held(client, secret)
    if not held and not files:
        raise RefusedError(f"{secret} has no value yet: put one with NAME=FILE for each name")
    wanted = changed(held, {name: _read(name, file) for name, file in files.items()})
    check(wanted)
    lines = told(held, wanted)
    if wanted == held:
        return [*lines, "nothing was put: this is what the secret holds"]
    client.put_secret_value(SecretId=secret, SecretString=json.dumps(wanted))
    return [*lines, "put; functions read it within two minutes of use"]


# ---- the command line ----


def _assignment(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not equals or name not in SECRET_NAMES:
        # Not the text itself: it may be a value.
        names = ", ".join(sorted(SECRET_NAMES))
        raise argparse.ArgumentTypeError(f"must be NAME=FILE, with a NAME of {names}")
    return name, file


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.secret",
        description="Check the catalog's secret in Secrets Manager, and put values into it.",
    )
    parser.add_argument("secret", help="its name or ARN: product-catalog/settings")
    parser.add_argument(
        "changes",
        nargs="*",
        type=_assignment,
        metavar="NAME=FILE",
        help="a value and the file that has it (-: stdin); NAME= removes it",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; exit code 1 and the reason if nothing was put."""
    arguments = _arguments(argv)
    try:
        print("\n".join(run(arguments.secret, dict(arguments.changes))))
    except ClientError as error:
        # An answer of AWS may repeat what it was sent.
        print(f"error: {error.operation_name}: {error.response['Error']['Code']}", file=sys.stderr)
        return 1
    except (RefusedError, SettingsError, BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
