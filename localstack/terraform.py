"""Terraform on the root module of `terraform/`, against an emulator."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedded.services import LOCAL_AWS, ROOT, StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULE = ROOT / "terraform"
VARIABLES = Path(__file__).with_name("emulator.tfvars")
NO_PROVIDER = (
    "Terraform needs registry.terraform.io for its aws provider, once; or set TF_PLUGIN_DIR to a "
    "folder that holds it (what `terraform providers mirror` has made)."
)


class Terraform:
    """Terraform on the root module, its state and data in `folder`, against an emulator."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        values: Mapping[str, str],
    ) -> None:
        """`values`: variables that emulator.tfvars leaves open."""
        self._folder = folder
        self._state = folder / "terraform.tfstate"
        further = environ.get("AWS_VAR_FILE")
        # The later one wins.
        self._variables = [VARIABLES, *([(ROOT / further).resolve()] if further else [])]
        self._plugins = environ.get("TF_PLUGIN_DIR")
        self.environment = {
            # Nothing of a real account, whatever the developer is logged in to.
            **{name: text for name, text in environ.items() if not name.startswith("AWS_")},
            **LOCAL_AWS,
            "TF_DATA_DIR": str(folder / "terraform"),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            **{f"TF_VAR_{name}": text for name, text in values.items()},
        }

    def init(self) -> None:
        """Install the provider."""
        plugins = [f"-plugin-dir={self._plugins}"] if self._plugins else []
        try:
            self.run("init", *plugins)
        except StackError as error:
            raise StackError(f"{error}\n{NO_PROVIDER}") from error

    def apply(self, *only: str) -> None:
        """Make everything as the module says, or `only` the resources of these addresses."""
        targets = [f"-target={address}" for address in only]
        self.run("apply", "-auto-approve", *targets, *self.files())

    def plan(self, *, refresh: bool = True) -> dict[str, set[str]]:
        """Say what another apply would change: attributes by the address in the catalog."""
        plan = str(self._folder / "plan")
        self.run("plan", f"-refresh={str(refresh).lower()}", f"-out={plan}", *self.files())
        content = json.loads(self.run("show", "-json", plan))
        changes = {item["address"]: item["change"] for item in content["resource_changes"]}
        return {
            address.removeprefix("module.catalog."): _changed(change)
            for address, change in changes.items()
            if change["actions"] not in (["no-op"], ["read"])
        }

    def destroy(self, *left_out: str) -> None:
        """Remove everything; but `left_out`, resources that go with others, is only forgotten."""
        # A module may be new since `init`. That would ask for the provider too, which may be out of
        # reach now; what is installed will do to destroy.
        self.run("get")
        if known := set(left_out) & {name.partition("[")[0] for name in self.resources()}:
            self.run("state", "rm", f"-state={self._state}", *sorted(known))
        self.run("apply", "-destroy", "-auto-approve", *self.files())

    def outputs(self) -> dict[str, Any]:
        """Give the outputs by name."""
        content = json.loads(self.run("output", "-json", f"-state={self._state}"))
        return {name: item["value"] for name, item in content.items()}

    def resources(self) -> list[str]:
        """Give the address of every resource in the state."""
        if not self._state.exists():
            return []
        listed = self.run("state", "list", f"-state={self._state}").splitlines()
        return [address for address in listed if ".data." not in f".{address}"]

    def forget(self) -> None:
        """Drop the state: the emulator that held the resources is gone."""
        self._state.unlink(missing_ok=True)

    def run(self, *arguments: str) -> str:
        """Run a command of Terraform; its output. Raises StackError."""
        done = self._call(*arguments)
        if done.returncode != 0:
            # The end tells; before it is the whole plan.
            said = (done.stderr or done.stdout)[-4000:]
            raise StackError(f"terraform {arguments[0]} failed:\n{said}")
        return done.stdout

    def files(self) -> list[str]:
        """Name the files of state and variables, as arguments, and how many calls run at a time."""
        files = [f"-var-file={path}" for path in self._variables]
        return [f"-state={self._state}", *files, "-parallelism=6"]

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("terraform")
        if program is None:
            raise StackError("terraform (1.11 or newer) is not installed")
        command = [program, f"-chdir={MODULE}", *arguments]
        if arguments[0] in ("init", "get", "plan", "apply"):
            command.append("-no-color")
        return subprocess.run(  # noqa: S603 - no shell, our own arguments
            command, env=self.environment, capture_output=True, text=True, check=False
        )


def _changed(change: Mapping[str, Any]) -> set[str]:
    if causes := change.get("replace_paths"):
        # What is made anew is unknown in all its parts; these are why.
        return {path[0] for path in causes}
    before, after = (change[name] or {} for name in ("before", "after"))
    names = {*before, *after, *change["after_unknown"]}
    return {name for name in names if before.get(name) != after.get(name)}
