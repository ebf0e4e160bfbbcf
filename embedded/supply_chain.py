"""Breaks and mends the fake supply chain of a running stack: `python -m embedded.supply_chain`.

What each word does, and what it is good for: docs/fake-supply-chain.md. The stack is the one of
RUN_DIR. What is set here stays over restarts.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from embedded.fake_supply_chain import Settings
from embedded.services import StackError, local_session
from embedded.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedded.stack import StackInfo

Json = dict[str, Any]
RELIABLE = Settings(failure_rate=0).to_json()
"""The settings of `reset`."""
# Who signs is no fault.
del RELIABLE["signingSecrets"]


def control_of(stack: Stack) -> str:
    """Give the address of the controls. Raises StackError if there are none."""
    info = stack.info()
    if info is None:
        raise StackError(f"no stack runs in {stack.run_dir}: make up starts one")
    return _embedded(info)


def _embedded(info: StackInfo) -> str:
    if "supplyChain" not in info["processes"]:
        raise StackError(
            "the supply chain is the one of SUPPLY_CHAIN_URL, not the fake one: it cannot be broken"
            " here. make up without SUPPLY_CHAIN_URL starts the fake one"
        )
    return f"{info['supplyChain']}/_control"


def _add(name: str) -> Callable[[Json, list[str]], Json]:
    return lambda now, ids: {name: [*dict.fromkeys([*now[name], *ids])]}


CHANGES: dict[str, Callable[[Json, Any], Json]] = {
    "show": lambda _, __: {},
    "down": lambda _, __: {"down": True},
    "up": lambda _, __: {"down": False},
    "fail": lambda _, share: {"failureRate": share},
    "delay": lambda _, seconds: {"latencySeconds": seconds},
    "limit": lambda _, rate: {"callsPerSecond": rate},
    "fail-product": _add("failIds"),
    "reject": _add("rejectIds"),
    "reset": lambda _, __: RELIABLE,
}
"""What each word changes, given the settings of now and its argument."""
TAMPERING: dict[str, Callable[[Json], Json]] = {
    "lose": lambda _: {"lose": True},
    "change": lambda held: {"name": f"{held['name']} (changed)"},
    "raise": lambda held: {"version": held["version"] + 5},
}
"""What each word does to a product that is held, behind the catalog's back."""


def change(control: str, word: str, argument: object) -> list[str]:
    """Do what a word says; give lines about the state. Raises StackError."""
    try:
        with local_session() as session:
            settings = _json(session.get(control, timeout=5))
            if word in TAMPERING and isinstance(argument, list):
                return _tampered(session, control, word, argument)
            if changed := CHANGES[word](settings, argument):
                settings = _json(session.put(control, json=changed, timeout=5))
            return described(settings, _json(session.get(f"{control}/summary", timeout=5)))
    except requests.ConnectionError:
        raise StackError("the supply chain does not run: make up starts it again") from None
    except requests.RequestException as error:
        raise StackError(f"the supply chain does not answer: {error}") from None


def _tampered(session: requests.Session, control: str, word: str, ids: list[str]) -> list[str]:
    """Change products as it holds them; give a line for each."""
    products = _json(session.get(f"{control}/products", timeout=5))["items"]
    held = {product["id"]: product for product in products}
    if unknown := [product_id for product_id in ids if product_id not in held]:
        raise StackError(f"the supply chain does not hold {', '.join(unknown)}")
    for product_id in ids:
        changes = {"id": product_id, **TAMPERING[word](held[product_id])}
        _json(session.patch(f"{control}/products", json=changes, timeout=5))
    return [f"{word}: {product_id}" for product_id in ids]


def _json(answer: requests.Response) -> Json:
    content: Json = answer.json()
    if not answer.ok:
        raise StackError(f"the supply chain refuses it: {content['detail']}")
    return content


def described(settings: Json, summary: Json) -> list[str]:
    """Say how the supply chain behaves, and what it has seen."""
    lines = ["it is down: every call is answered 503"] if settings["down"] else []
    if settings["failureRate"]:
        kinds = ", ".join(settings["kinds"])
        lines.append(f"fails {settings['failureRate']:.0%} of the calls ({kinds})")
    if settings["latencySeconds"]:
        lines.append(f"answers after {settings['latencySeconds']:g} s")
    if settings["callsPerSecond"]:
        lines.append(f"answers 429 above {settings['callsPerSecond']:g} calls per second")
    lines += [f"fails always: {product}" for product in settings["failIds"]]
    lines += [f"rejects: {product}" for product in settings["rejectIds"]]
    counts = f"{summary['products']} products, {summary['calls']} calls, {summary['failed']} failed"
    return [*(lines or ["it works"]), f"holds {counts}"]


# ---- the command line ----


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m embedded.supply_chain",
        description="Break the fake supply chain of the running stack, and mend it.",
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    words.add_parser("show", help="say how it behaves, and what it has seen")
    words.add_parser("down", help="answer every call with 503")
    words.add_parser("up", help="the opposite of down")
    fail = words.add_parser("fail", help="fail this share of the calls, from 0 to 1")
    fail.add_argument("argument", metavar="SHARE", type=_number)
    delay = words.add_parser("delay", help="answer each call after so many seconds")
    delay.add_argument("argument", metavar="SECONDS", type=_number)
    limit = words.add_parser("limit", help="answer 429 above so many calls per second, or `none`")
    limit.add_argument("argument", metavar="RATE", type=_rate)
    failing = words.add_parser("fail-product", help="fail each call for these products")
    failing.add_argument("argument", metavar="ID", nargs="+")
    reject = words.add_parser("reject", help="refuse these products for good (422)")
    reject.add_argument("argument", metavar="ID", nargs="+")
    for word, told in {
        "lose": "forget these products, behind the catalog's back",
        "change": "give these another name, behind the catalog's back",
        "raise": "give these a higher version, behind the catalog's back",
    }.items():
        words.add_parser(word, help=told).add_argument("argument", metavar="ID", nargs="+")
    words.add_parser("reset", help="work again; products and calls stay")
    return parser.parse_args(argv)


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError("must be a number")


def _rate(text: str) -> float | None:
    return None if text == "none" else _number(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and RUN_DIR; give the exit code."""
    arguments = _arguments(argv)
    stack = Stack(Path(os.environ.get("RUN_DIR") or ".run"), os.environ)
    try:
        argument = getattr(arguments, "argument", None)
        print("\n".join(change(control_of(stack), arguments.word, argument)))
    except (StackError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
