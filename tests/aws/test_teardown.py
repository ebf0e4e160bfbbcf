"""The last of these tests, by the name of the file: what remains when all is destroyed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.aws.conftest import DeployedStack, make

LISTS = [
    ("apigateway", "get_rest_apis", "items"),
    ("apigateway", "get_usage_plans", "items"),
    ("cloudwatch", "describe_alarms", "MetricAlarms"),
    ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ("events", "list_rules", "Rules"),
    ("lambda", "list_event_source_mappings", "EventSourceMappings"),
    ("lambda", "list_functions", "Functions"),
    ("logs", "describe_log_groups", "logGroups"),
    ("secretsmanager", "list_secrets", "SecretList"),
    ("sqs", "list_queues", "QueueUrls"),
]


def remains(aws: DeployedStack) -> dict[str, object]:
    """What the emulator still has of ours."""
    found: dict[str, object] = {
        f"{service}.{operation}": getattr(aws.client(service), operation)().get(key)
        for service, operation, key in LISTS
    }
    roles = aws.client("iam").list_roles()["Roles"]
    found["roles"] = [it["RoleName"] for it in roles if it["RoleName"].startswith("product-")]
    return {name: items for name, items in found.items() if items}


def test_destroy_leaves_nothing_and_down_no_process_and_no_folder(aws: DeployedStack) -> None:
    assert {"sqs.list_queues", "lambda.list_functions", "roles"} <= set(remains(aws))
    # As if the modules had changed since.
    shutil.rmtree(aws.aws.run_dir / "terraform" / "modules")
    aws.aws.destroy()
    assert remains(aws) == {}
    make(aws.aws, "aws-down")
    assert not aws.aws.run_dir.exists()
    assert not [pid for pid in aws.info["processes"].values() if runs(pid)]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and ") Z " in stat.read_text())
