"""The workflows of GitHub Actions: rules that keep keys and secrets where they belong.

Their form is checked by `make check` (check-jsonschema), and by actionlint in the workflow itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import canary

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").rglob("action.yml"))
Json = dict[str, Any]
EACH = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
EVERY = pytest.mark.parametrize(
    "path", WORKFLOWS + ACTIONS, ids=lambda path: path.parent.name + path.stem
)
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)+")
LOGS_IN = "aws-actions/configure-aws-credentials@"
OURS = "./.github/actions/terraform"


def read(path: Path) -> Json:
    # As text, else `on` is true.
    content: Json = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - makes texts only
    return content


def jobs(path: Path) -> list[Json]:
    return list(read(path)["jobs"].values())


def steps(path: Path) -> list[Json]:
    """All steps of a workflow or an action."""
    content = read(path)
    parts = content["jobs"].values() if "jobs" in content else [content["runs"]]
    return [step for part in parts for step in part["steps"]]


def logs_in(job: Json) -> bool:
    return any(step.get("uses", "").startswith((LOGS_IN, OURS)) for step in job["steps"])


def test_there_are_workflows_to_check_plan_apply_and_go_back() -> None:
    assert [path.stem for path in WORKFLOWS] == ["apply", "check", "plan", "rollback"]


@EVERY
def test_an_action_of_others_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    used = [
        line.partition("uses: ")[2] for line in path.read_text().splitlines() if "uses: " in line
    ]
    assert used
    assert [it for it in used if it != OURS and not PINNED.fullmatch(it)] == []


@EVERY
def test_a_script_takes_values_from_the_environment_not_from_its_text(path: Path) -> None:
    # The title of a pull request, for example, would be run as a part of the script.
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


@EACH
def test_a_workflow_may_read_the_sources_and_no_more(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}
    for job in jobs(path):
        expected = {"contents": "read", "id-token": "write"} if logs_in(job) else None
        assert job.get("permissions") == expected


@EACH
def test_a_job_ends_and_its_clone_keeps_no_token(path: Path) -> None:
    assert all("timeout-minutes" in job for job in jobs(path))
    clones = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert len(clones) == len(jobs(path))
    assert all(step["with"]["persist-credentials"] == "false" for step in clones)


@EACH
def test_what_a_pull_request_can_start_sees_no_secret(path: Path) -> None:
    triggers = read(path)["on"]
    assert "pull_request_target" not in triggers, "it would run foreign code with our rights"
    if "pull_request" in triggers:
        assert "secrets." not in path.read_text()
        # What may change something is behind an environment, whose rules name who approves.
        assert all("environment" not in job for job in jobs(path))


@EACH
def test_what_may_change_a_deployment_is_behind_an_environment(path: Path) -> None:
    if "pull_request" not in read(path)["on"]:
        assert all(job["environment"] for job in jobs(path) if logs_in(job))


@EVERY
def test_no_key_of_aws_is_stored(path: Path) -> None:
    assert "aws-access-key-id" not in path.read_text()
    for step in steps(path):
        if step.get("uses", "").startswith(LOGS_IN):
            assert step["with"]["role-to-assume"]


def test_the_folder_of_terraform_is_named_once() -> None:
    for path in WORKFLOWS:
        folders = [step["working-directory"] for step in steps(path) if "working-directory" in step]
        assert set(folders) <= {"${{ steps.terraform.outputs.folder }}"}


def test_a_plan_is_uploaded_as_text_where_sensitive_values_are_hidden() -> None:
    (upload,) = [it for it in steps(ROOT / ".github/workflows/plan.yml") if "upload" in str(it)]
    assert upload["with"]["path"].endswith("/plan.txt")


def test_what_was_applied_is_released_before_it_is_verified() -> None:
    # With `canary`, an apply alone leaves the old release in use, and the smoke test finds it well.
    runs = [step.get("run", "") for step in steps(ROOT / ".github/workflows/apply.yml")]
    order = ["terraform apply", "-m tools.canary", "make verify-deployment"]
    found = [next(i for i, run in enumerate(runs) if words in run) for words in order]
    assert found == sorted(found)


def test_an_apply_and_its_login_outlast_the_slowest_canary() -> None:
    (job,) = jobs(ROOT / ".github/workflows/apply.yml")
    seconds = 60 * int(job["timeout-minutes"])
    # Beside it, the migration alone may take a quarter of an hour.
    assert seconds >= canary.PAUSE_SECONDS * canary.LOOKS + 45 * 60
    (ours,) = (step for step in job["steps"] if step.get("uses") == OURS)
    assert int(ours["with"]["role-seconds"]) == seconds
    (login,) = (step for step in steps(ACTIONS[0]) if step.get("uses", "").startswith(LOGS_IN))
    assert login["with"]["role-duration-seconds"] == "${{ inputs.role-seconds }}"
