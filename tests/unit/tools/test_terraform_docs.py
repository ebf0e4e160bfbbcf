"""What is written from the Terraform modules is that of now; every check of theirs is tested."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from chalicelib.settings import Settings
from tools.terraform_docs import CATALOG, MODULES, ROOT, outputs, read_blocks, variables, written

TESTS = "\n".join(path.read_text() for path in sorted((CATALOG / "tests").glob("*.tftest.hcl")))


def test_the_roots_variables_and_the_tables_are_those_of_the_modules() -> None:
    stale = [path.name for path, text in written().items() if path.read_text() != text]
    assert stale == [], "make terraform-docs writes them again"


def test_a_block_is_read_with_arguments_of_several_lines() -> None:
    text = """
variable "size" {
  description = "How large."
  type = object({
    width = optional(number, 1) # in metres
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.size.width > 0
    error_message = "size.width must be above 0."
  }
}
"""
    (block,) = read_blocks("variable", text)
    assert (block.name, block.description) == ("size", "How large.")
    assert block.arguments["type"].endswith("# in metres\n  })")
    assert (block.arguments["default"], block.arguments["nullable"]) == ("{}", "false")


@pytest.mark.parametrize("module", [ROOT, *MODULES], ids=lambda path: path.name)
def test_each_variable_has_a_type_and_each_input_and_output_a_description(module: Path) -> None:
    text = "".join(path.read_text() for path in sorted(module.glob("*.tf")))
    inputs, results = read_blocks("variable", text), read_blocks("output", text)
    assert inputs
    assert results
    assert all({"description", "type"} <= it.arguments.keys() for it in inputs)
    assert all(it.description.endswith(".") for it in [*inputs, *results])


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_configures_no_provider(module: Path) -> None:
    assert not [
        it for it in module.glob("*.tf") if re.search(r"^provider ", it.read_text(), re.MULTILINE)
    ]
    assert variables(module)
    assert outputs(module)


def test_each_validation_and_each_condition_of_the_catalog_is_seen_to_refuse() -> None:
    text = "".join(path.read_text() for path in sorted(CATALOG.glob("*.tf")))
    checks: Counter[str] = Counter()
    blocks = re.findall(
        r'^(variable|resource|data) ((?:"\w+" ?)+)\{\n(.*?)^}$', text, re.MULTILINE | re.DOTALL
    )
    for kind, names, body in blocks:
        address = ".".join(re.findall(r"\w+", names))
        prefix = {"variable": "var.", "data": "data.", "resource": ""}[kind]
        checks[prefix + address] += len(
            re.findall(r"^ +(?:validation|\w+condition) \{", body, re.MULTILINE)
        )
    refused = Counter(
        address
        for run in re.findall(r"expect_failures = \[(.*?)\]\n", TESTS, re.DOTALL)
        # Of several instances of a resource, one.
        for address in set(re.findall(r"(?:var|data|aws_\w+)\.[\w.]+", run))
    )
    assert {name: count for name, count in checks.items() if count > refused[name]} == {}


def test_the_lock_file_is_of_the_provider_that_the_root_asks_for() -> None:
    lock = (ROOT / ".terraform.lock.hcl").read_text()
    asked = re.search(r'version = "(~> [\d.]+)"', (ROOT / "versions.tf").read_text())
    assert asked is not None
    assert f"constraints = {json.dumps(asked[1])}" in lock
    # One for each platform, which Terraform compares with what the registry gives.
    assert len(re.findall(r'"zh:[0-9a-f]{64}"', lock)) == 15


def test_the_pool_that_terraform_counts_with_is_the_functions_own() -> None:
    text = (CATALOG / "variables.tf").read_text()
    counted = set(re.findall(r"coalesce\(var.mongodb.max_pool_size, (\d+)\)", text))
    assert counted == {str(Settings.model_fields["mongodb_max_pool_size"].default)}
