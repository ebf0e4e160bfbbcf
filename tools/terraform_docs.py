"""What is written from the variables and outputs of the Terraform modules: `make terraform-docs`.

    terraform/catalog.tf            the root's call of the catalog module: each variable of the
                                    module is one of the root, and so is each output
    terraform/modules/*/README.md   the tables of inputs and outputs, between their two marks

A test says when one of them is stale. The files are read as `terraform fmt` leaves them: a block
begins and ends at the beginning of a line, and its arguments are indented by two spaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "terraform"
CATALOG = ROOT / "modules" / "catalog"
MODULES = (CATALOG, ROOT / "modules" / "function", ROOT / "modules" / "queues")
CALL = ROOT / "catalog.tf"
HEAD = "# Written by `make terraform-docs` from modules/catalog: change that, not this.\n"
BEGIN, END = "<!-- written by make terraform-docs -->\n", "<!-- end -->\n"
# What the root gives in another form than it gets it.
PATHS = {"artifacts": '"${path.root}/${var.artifacts}"'}
DEFAULTS = {"artifacts": '"../dist"'}


@dataclass(frozen=True)
class Block:
    """A variable or an output: its arguments as they are written."""

    name: str
    arguments: dict[str, str]

    @property
    def description(self) -> str:
        """The text of the description."""
        return self.arguments["description"].strip('"')


def read_blocks(kind: str, text: str) -> list[Block]:
    """Give the blocks of a kind in a file, in their order."""
    found = re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}$', text, re.MULTILINE | re.DOTALL)
    return [Block(name, _arguments(body)) for name, body in found]


def _arguments(body: str) -> dict[str, str]:
    # An argument lasts until the next line that is indented as little; nested blocks have no "=".
    parts = re.split(r"^  (?=\w)", body, flags=re.MULTILINE)
    pairs = (re.match(r"(\w+) += (.*)", part, re.DOTALL) for part in parts)
    return {pair[1]: pair[2].strip() for pair in pairs if pair}


def variables(module: Path) -> list[Block]:
    """Give the variables of a module."""
    return read_blocks("variable", (module / "variables.tf").read_text())


def outputs(module: Path) -> list[Block]:
    """Give the outputs of a module."""
    return read_blocks("output", (module / "outputs.tf").read_text())


# ---- the root ----


def call() -> str:
    """Give the content of the root's catalog.tf."""
    inputs = variables(CATALOG)
    width = max(len(it.name) for it in inputs)
    given = [f"  {it.name:{width}} = {PATHS.get(it.name, f'var.{it.name}')}" for it in inputs]
    module = ['module "catalog" {', '  source = "./modules/catalog"', "", *given, "}"]
    blocks = ["\n".join(module)]
    blocks += [_variable(it) for it in inputs]
    blocks += [_output(it) for it in outputs(CATALOG)]
    return HEAD + "\n" + "\n\n".join(blocks) + "\n"


def _variable(variable: Block) -> str:
    """Declare it for the root: null stands for the module's default."""
    kept = [f"  description = {variable.arguments['description']}"]
    kept += [f"  type = {variable.arguments['type']}"]
    if "default" in variable.arguments or variable.name in DEFAULTS:
        kept += [f"  default = {DEFAULTS.get(variable.name, 'null')}"]
    return _aligned(f'variable "{variable.name}" {{', kept)


def _output(output: Block) -> str:
    kept = [f"  description = {output.arguments['description']}"]
    return _aligned(
        f'output "{output.name}" {{', [*kept, f"  value = module.catalog.{output.name}"]
    )


def _aligned(head: str, arguments: list[str]) -> str:
    """Align as `terraform fmt` does: arguments of one line, as long as they follow each other."""
    lines: list[str] = []
    group: list[str] = []
    for argument in [*arguments, ""]:
        if argument and "\n" not in argument:
            group.append(argument)
            continue
        # The first line of a longer argument belongs to those before it only if it is not nested.
        lines += _columns(group)
        group = []
        lines += [argument] if argument else []
    return "\n".join([head, *lines, "}"])


def _columns(arguments: list[str]) -> list[str]:
    pairs = [argument.split(" = ", 1) for argument in arguments]
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:{width}} = {value}" for name, value in pairs]


# ---- the tables ----


def tables(module: Path) -> str:
    """Give inputs and outputs of a module as tables in Markdown."""
    lines = ["## Inputs", "", "| name | what it is | type | default |", "| --- | --- | --- | --- |"]
    for it in variables(module):
        default = _code(it.arguments["default"]) if "default" in it.arguments else "required"
        lines.append(
            f"| {it.name} | {_cell(it.description)} | {_code(it.arguments['type'])} | {default} |"
        )
    lines += ["", "## Outputs", "", "| name | what it is |", "| --- | --- |"]
    lines += [f"| {it.name} | {_cell(it.description)} |" for it in outputs(module)]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Write an expression in one line, without its comments."""
    plain = " ".join(re.sub(r"#.*", "", text).split())
    return f"`{_cell(plain)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def readme(module: Path) -> str:
    """Give the README of a module with the tables of now."""
    before, rest = (module / "README.md").read_text().split(BEGIN)
    return before + BEGIN + "\n" + tables(module) + "\n" + END + rest.split(END)[1]


def written() -> dict[Path, str]:
    """Give the content of each file that is written from the modules."""
    return {CALL: call(), **{module / "README.md": readme(module) for module in MODULES}}


def main() -> None:
    """Write them."""
    for path, text in written().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
