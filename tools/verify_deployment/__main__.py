"""Smoke test of a deployed catalog: on AWS, on an emulator, or of the embedded stack.

It writes a product that it names verify-deployment-…, follows it to the supply chain and back, and
deletes it. Without options it takes no step that somebody else would notice.

In the environment: CATALOG_API or --url; CATALOG_TOKEN (products:read, products:write, sync:admin);
CATALOG_JWT_SECRET or CATALOG_READER_TOKEN, for a token that may only read; NATS_URL and
NATS_CREDENTIALS; for --aws what boto3 reads. Without an address: the stack of `make up`.

Exit codes: 0 all is well; 1 a step has failed; 2 wrong usage or setting; 3 with --strict: a step
was not taken; 130 interrupted (the product is deleted nevertheless).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from catalogctl import events, tokens
from catalogctl.connection import Connection
from catalogctl.errors import CommandError, UsageError
from chalicelib.domain import exact_json
from tools.deployment import Names, session
from tools.verify_deployment.cloud import Account, Cloud
from tools.verify_deployment.product import Given, Listen, Product
from tools.verify_deployment.steps import (
    NotCheckedError,
    Outcome,
    Patience,
    Step,
    document,
    exit_code,
    take,
)
from tools.verify_deployment.web import Web

CLOUD_STEPS = ("release", "alarms", "topics", "page", "throttle", "default address")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; give the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        product, steps = _steps(arguments, os.environ)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    outcomes: list[Outcome] = []
    say: Callable[[object], None] = (
        (lambda _: None) if arguments.json else partial(print, flush=True)
    )
    try:
        _run(steps, outcomes, say)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        _run([Step("deletion", product.deletion)], outcomes, say)
    if arguments.json:
        print(exact_json.dumps(document(product.given.web.base, outcomes)))
    return exit_code(outcomes, strict=arguments.strict)


def _run(steps: Iterable[Step], outcomes: list[Outcome], say: Callable[[object], None]) -> None:
    for outcome in take(steps):
        outcomes.append(outcome)
        say(outcome)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.verify_deployment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--url", help="address of the API, with /api; else CATALOG_API")
    add("--seconds", type=float, default=240, help="how long to wait for each thing (%(default)s)")
    add("--aws", action="store_true", help="look at releases, alarms, topics and gateway too")
    add("--name-suffix", default=os.environ.get("NAME_SUFFIX", ""), help="Terraform's name_suffix")
    add("--test-alarms", action="store_true", help="with --aws: raise one page, and end it")
    add("--poison", action="store_true", help="with --aws: make a dead letter by a foreign message")
    add(
        "--supply-chain-control", metavar="URL", help="a fake supply chain, which is told to reject"
    )
    add("--strict", action="store_true", help="end with 3 if a step was not taken")
    add("--json", action="store_true", help="print one JSON document")
    return parser


def _steps(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Product, list[Step]]:
    """Give the product, and all steps but its deletion. Raises CommandError."""
    if (arguments.poison or arguments.test_alarms) and not arguments.aws:
        raise UsageError("--poison and --test-alarms belong to --aws")
    connection = Connection(arguments.url)
    address, token = connection.address_and_token()
    is_given = bool(arguments.url or environ.get("CATALOG_API"))
    fake = arguments.supply_chain_control
    web, patience = Web(address, token), Patience(arguments.seconds)
    given = Given(
        web,
        patience,
        reader=_reader(connection, environ, is_given=is_given),
        listen=_listener(connection, environ, is_given=is_given),
        fake=Web(fake, None) if fake else None,
    )
    product = Product(given)
    return product, [*product.steps, *_cloud_steps(arguments, given)]


def _cloud_steps(arguments: argparse.Namespace, given: Given) -> list[Step]:
    if not arguments.aws:
        return [Step(name, _without_aws) for name in CLOUD_STEPS]
    aws = session()
    account = Account(
        # Typed for each service by its name; here it is any of them.
        cast("Callable[[str], Any]", aws.client),
        Names(arguments.name_suffix),
        aws.region_name or "",
        may_raise_an_alarm=arguments.test_alarms,
    )
    cloud = Cloud(account, given.web, given.patience, given.mark)
    if arguments.poison:
        given.poison = cloud.poison
    return cloud.steps


def _without_aws() -> str:
    raise NotCheckedError("needs --aws, and credentials")


# The addresses and secrets of the stack of `make up` belong to no other API.


def _reader(connection: Connection, environ: Mapping[str, str], *, is_given: bool) -> str | None:
    if token := environ.get("CATALOG_READER_TOKEN"):
        return token
    if is_given and not environ.get("CATALOG_JWT_SECRET"):
        return None
    until = datetime.now(UTC) + timedelta(minutes=10)
    return tokens.sign(connection.secret(), [tokens.Scope.READ], "verify-deployment", until)


def _listener(
    connection: Connection, environ: Mapping[str, str], *, is_given: bool
) -> Listen | None:
    if is_given and not environ.get("NATS_URL"):
        return None
    return partial(events.listen, connection.nats())


if __name__ == "__main__":
    sys.exit(main())
