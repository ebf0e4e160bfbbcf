"""What AWS does and an emulator does not. The tests leave out what needs it; the table in
docs/emulators.md is made from this one.
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
        "The free edition stores authorizers and calls none: the API itself checks tokens.",
    ),
    "IAM": Gap(
        ("localstack",),
        "The free edition asks nobody: every role may do everything.",
    ),
    "gateway response templates": Gap(
        ("localstack",),
        "In the app's place API Gateway answers with our status, and with a body of its own.",
    ),
    "throttling": Gap(
        ("localstack",),
        "API Gateway stores the limits of a stage and holds nobody to them.",
    ),
    "memory limit": Gap(
        ("ministack", "localstack"),
        "Lambdas are plain processes: `memory_size` is what they are told, no more.",
    ),
}
"""By capability."""


def lacks(emulator: str, capability: str) -> bool:
    """Tell whether an emulator lacks a capability of `GAPS`."""
    return emulator in GAPS[capability].missing_in


def table() -> str:
    """Give all gaps as a table in Markdown."""
    rows = [f"| {name} | {', '.join(gap.missing_in)} | {gap.why} |" for name, gap in GAPS.items()]
    return "\n".join(["| capability | missing in | why |", "| --- | --- | --- |", *rows])
