"""What AWS does and an emulator does not. The tests leave out what needs it.

docs/emulators.md shows the same table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """Something that emulators lack: `missing_in` are their names, `why` says it in a sentence."""

    missing_in: tuple[str, ...]
    why: str


GAPS = {
    "authorizers": Gap(
        ("localstack",),
        "The free edition stores authorizers and does not call them: the API itself checks tokens.",
    ),
    "IAM": Gap(
        ("localstack",),
        "The free edition does not check permissions: every role may do everything.",
    ),
    "gateway response templates": Gap(
        ("localstack",),
        "For an unknown route, API Gateway answers with our status and its own body.",
    ),
    "throttling": Gap(
        ("localstack",),
        "API Gateway stores the limits of a stage and does not enforce them.",
    ),
    "memory limit": Gap(
        ("ministack", "localstack"),
        "Lambdas are plain processes: they can read `memory_size`, and nothing enforces it.",
    ),
}
"""By capability."""

# Attributes that an emulator returns different from how they were set. The test of a second plan
# fails on any other difference, and on one that is no longer there.
MINISTACK_DRIFT = {
    # It returns POST for a mock; AWS returns nothing.
    "aws_api_gateway_integration.preflight": {"integration_http_method"},
    # It returns a quota of 0 for a plan without one.
    "aws_api_gateway_usage_plan.callers": {"quota_settings"},
    "aws_cloudwatch_metric_alarm.catalog": {
        # It leaves these out when it describes an alarm.
        "actions_enabled",
        "alarm_actions",
        "alarm_description",
        "dimensions",
        "extended_statistic",
        "ok_actions",
        "period",
        "statistic",
        "treat_missing_data",
    },
    # It leaves out this too, which Terraform can change only by making the alarm anew.
    "aws_cloudwatch_composite_alarm.catalog": {"actions_enabled"},
    "aws_cloudwatch_composite_alarm.causes": {"actions_enabled"},
}
# It leaves out the tags of an alarm.
LOCALSTACK_DRIFT = {
    "aws_cloudwatch_metric_alarm.catalog": {"tags_all"},
    "aws_cloudwatch_composite_alarm.catalog": {"tags_all"},
    "aws_cloudwatch_composite_alarm.causes": {"tags_all"},
}
# Resources that an emulator cannot remove one by one. They end with what they are a part of.
GO_WITH_OTHERS: dict[str, tuple[str, ...]] = {
    "ministack": (),
    # It removes the settings of all methods (*/*) from a stage, and refuses to remove those of one.
    "localstack": ("module.catalog.aws_api_gateway_method_settings.ready",),
}
KNOWN_DRIFT = {"ministack": MINISTACK_DRIFT, "localstack": LOCALSTACK_DRIFT}


def lacks(emulator: str, capability: str) -> bool:
    """Tell whether an emulator lacks a capability of `GAPS`."""
    return emulator in GAPS[capability].missing_in


def table() -> str:
    """Give all gaps as a table in Markdown."""
    rows = [f"| {name} | {', '.join(gap.missing_in)} | {gap.why} |" for name, gap in GAPS.items()]
    return "\n".join(["| capability | missing in | why |", "| --- | --- | --- |", *rows])
