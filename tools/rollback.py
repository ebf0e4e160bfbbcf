"""Takes all functions back to the release before, at once: `python -m tools.rollback`.

    --list            only show the releases, newest first
    --to RELEASE      not the release before, but this one
    --dry-run         only say what would be moved
    --yes             do not ask
    --name-suffix=-X  Terraform's name_suffix, else that of NAME_SUFFIX

It moves the aliases `live`, and needs AWS credentials, but neither Terraform, its secrets nor the
artifacts. Which versions belong together, each says in its description: "…; release 3f2a91c0de",
which Terraform makes of the artifacts and the settings of the functions.

Exit codes: 0 the release is live; 1 not all aliases could be moved: run it again; 2 there is
nothing to go back to, or wrong usage; 3 AWS refuses or cannot be reached; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from tools.deployment import ALIAS, RELEASED, Names, session

if TYPE_CHECKING:
    Say = Callable[[str], None]

RELEASE = re.compile(r"; release ([0-9a-z.-]+)$")
Lambda = Any
CodeDeploy = Any
"""Clients of boto3, which makes them at run time."""


class RollbackError(Exception):
    """It cannot be done; the text says why, and what can."""

    def __init__(self, text: str, exit_code: int = 2) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is: the newest version of each release, oldest first, and its alias."""

    role: str
    name: str
    versions: dict[str, int]
    published: dict[str, str]
    live: int
    revision: str
    canary: int | None = None
    """A second version, to which the alias sends a part of the calls."""

    @property
    def release(self) -> str | None:
        """Name the release that is live; None if that version names none."""
        return self._release_of(self.live)

    @property
    def newest_release(self) -> str | None:
        """Name the newest release that gets calls."""
        return self._release_of(max(self.live, self.canary or 0))

    def _release_of(self, version: int) -> str | None:
        return next((name for name, number in self.versions.items() if number == version), None)


@dataclass(frozen=True, slots=True)
class Release:
    """Versions that were published together."""

    name: str
    versions: dict[str, int]
    published: str


# ---- decisions ----


def releases(functions: Sequence[Function]) -> list[Release]:
    """Give the releases that every function has a version of, oldest first."""
    shared = set.intersection(*(set(function.versions) for function in functions))
    # Each function has them in the same order.
    return [
        Release(
            name,
            {function.role: function.versions[name] for function in functions},
            functions[0].published[name],
        )
        for name in functions[0].versions
        if name in shared
    ]


def target(functions: Sequence[Function], wanted: str | None) -> Release:
    """Give the release to go to. Raises RollbackError."""
    known = releases(functions)
    names = [release.name for release in known]
    if wanted is not None:
        if wanted not in names:
            raise RollbackError(f"there is no release {wanted}: {_listed(names)}")
        return known[names.index(wanted)]
    live = {function.newest_release for function in functions}
    if None in live or not live <= set(names):
        unknown = [f.role for f in functions if f.newest_release not in names]
        text = f"the live versions of {', '.join(unknown)} belong to no whole release"
        text = f"{text}, or are read-only for a restore, which ends as docs/disaster.md says"
        raise RollbackError(f"{text}: say which one with --to; {_listed(names)}")
    return known[_before(names, [str(name) for name in live])]


def _before(names: Sequence[str], live: Sequence[str]) -> int:
    newest = max(names.index(name) for name in live)
    # Who runs it twice does not go back two releases.
    if newest != len(names) - 1:
        text = f"the newest release, {names[-1]}, is not live, but {names[newest]}"
        raise RollbackError(
            f"{text}: it was rolled back already, or its apply has stopped. "
            f"To go further back, say where with --to; {_listed(names)}"
        )
    if newest == 0:
        raise RollbackError(f"{names[0]} is the first release: there is none before it")
    return newest - 1


def _listed(names: Sequence[str]) -> str:
    return f"there are {', '.join(reversed(names))}" if names else "no release is whole"


def skipped(functions: Sequence[Function], to: Release) -> int:
    """Say over how many releases this goes back."""
    names = [release.name for release in releases(functions)]
    live = [names.index(it) for f in functions if (it := f.newest_release) in names and it]
    return max(live, default=0) - names.index(to.name)


def to_move(functions: Sequence[Function], to: Release) -> list[Function]:
    """Give the functions whose aliases are not there yet, or not with all calls."""
    return [f for f in functions if f.live != to.versions[f.role] or f.canary]


def is_read_only(version: Mapping[str, Any]) -> bool:
    """Say whether a version was for a restore: after it, nobody wants to go back to that."""
    variables = version.get("Environment", {}).get("Variables", {})
    return bool(variables.get("CATALOG_MODE") == "restore")


# ---- AWS ----


def look(client: Lambda, names: Names, role: str) -> Function:
    """Read the versions and the alias of a function. Raises ClientError."""
    name = names.function(role)
    alias = client.get_alias(FunctionName=name, Name=ALIAS)
    versions: dict[str, int] = {}
    published: dict[str, str] = {}
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    found = [version for page in pages for version in page["Versions"]]
    numbered = [it for it in found if it["Version"].isdecimal() and not is_read_only(it)]
    for version in sorted(numbered, key=lambda it: int(it["Version"])):
        if named := RELEASE.search(version.get("Description", "")):
            # A release that came again, when a change was taken back, is newest where it came last.
            versions.pop(named[1], None)
            versions[named[1]] = int(version["Version"])
            published[named[1]] = version["LastModified"]
    canary = [int(it) for it in alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})]
    live, revision = int(alias["FunctionVersion"]), alias["RevisionId"]
    return Function(role, name, versions, published, live, revision, *canary)


def move(client: Lambda, function: Function, version: int) -> None:
    """Send all calls to a version. Raises ClientError, also if the alias was moved meanwhile."""
    client.update_alias(
        FunctionName=function.name,
        Name=ALIAS,
        FunctionVersion=str(version),
        RoutingConfig={"AdditionalVersionWeights": {}},
        RevisionId=function.revision,
    )


def stop_canary(client: CodeDeploy, names: Names) -> list[str]:
    """Stop the deployments that move these aliases; give their ids. Raises ClientError."""
    stopped: list[str] = []
    for role in RELEASED:
        found = client.list_deployments(
            applicationName=names.all,
            deploymentGroupName=role,
            includeOnlyStatuses=["Created", "Queued", "InProgress", "Ready"],
        )
        for deployment in found["deployments"]:
            # It would move the alias back by itself, but perhaps later than this.
            client.stop_deployment(deploymentId=deployment, autoRollbackEnabled=False)
            stopped.append(deployment)
    return stopped


# ---- the command ----


def roll_back(
    clients: Callable[[str], Any], names: Names, arguments: argparse.Namespace, say: Say
) -> int:
    """Do it; give the exit code. Raises RollbackError, ClientError, BotoCoreError."""
    client = clients("lambda")
    functions = [look(client, names, role) for role in RELEASED]
    if arguments.list:
        _say_releases(functions, say)
        return 0
    to = target(functions, arguments.to)
    moves = to_move(functions, to)
    if not moves:
        say(f"release {to.name} is live already, in all functions")
        return 0
    _say_moves(moves, to, say)
    if skipped(functions, to) > 1:
        say(f"more than one release back: an index that {to.name} needs may be gone. First run the")
        say(f"version of {names.function('migrate')} whose description names it (docs/deploy.md)")
    if arguments.dry_run:
        say("nothing was moved: --dry-run")
        return 0
    if not arguments.yes:
        _confirm(f"take {len(moves)} functions to release {to.name}?")
    if any(function.canary for function in moves):
        stopped = stop_canary(clients("codedeploy"), names)
        say(f"the move to the newest release is stopped: {', '.join(stopped) or 'none ran'}")
        # CodeDeploy may have moved an alias since it was read.
        moves = to_move([look(client, names, function.role) for function in functions], to)
    return _move_all(client, moves, to, say)


def _say_moves(moves: Sequence[Function], to: Release, say: Say) -> None:
    for function in moves:
        now, then = function.release or "no release", to.versions[function.role]
        say(f"{function.name:32} {function.live} ({now}) -> {then} ({to.name})")


def _move_all(client: Lambda, moves: Sequence[Function], to: Release, say: Say) -> int:
    failed = []
    for function in moves:
        try:
            move(client, function, to.versions[function.role])
        except (ClientError, BotoCoreError) as error:
            failed.append(function.role)
            say(f"{function.name}: {error}")
    if failed:
        say(f"not moved: {', '.join(failed)}. The others are: run it again, with --to {to.name}")
        return 1
    pins = ", ".join(f'{role} = "{number}"' for role, number in to.versions.items())
    say(
        f"release {to.name} is live. The next terraform apply would move the aliases forward again,"
    )
    say(f"so keep it there until a good release is ready: pinned_versions = {{ {pins} }}")
    return 0


def _say_releases(functions: Sequence[Function], say: Say) -> None:
    for release in reversed(releases(functions)):
        live = [f.role for f in functions if f.live == release.versions[f.role]]
        mark = "live" if len(live) == len(functions) else f"live: {', '.join(live)}" if live else ""
        numbers = ", ".join(f"{role} {number}" for role, number in release.versions.items())
        say(f"{release.name:12} {release.published[:19]}  {numbers}  {mark}".rstrip())
    if others := [f"{f.role} {f.live}" for f in functions if f.release is None]:
        say(f"live and in no release of this list, such as read-only ones: {', '.join(others)}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise RollbackError("nobody can be asked here: give --yes, or --dry-run to look")
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise RollbackError("nothing was moved")


def _clients() -> Callable[[str], Any]:
    # Typed for each service by its name; here it is any of them.
    return cast("Callable[[str], Any]", session().client)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.rollback", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--to", metavar="RELEASE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--name-suffix", default=os.environ.get("NAME_SUFFIX", ""))
    arguments = parser.parse_args(argv)
    try:
        names = Names(arguments.name_suffix)
        return roll_back(_clients(), names, arguments, print)
    except RollbackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (ClientError, BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted: run it again to see what is live", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
