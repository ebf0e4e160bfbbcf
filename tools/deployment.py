"""How terraform/ names the parts of a deployment, for the tools that look at one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import boto3
from botocore.exceptions import NoRegionError

ALIAS = "live"
"""Of each function: what every caller uses."""
STAGE = "api"
RELEASED = ("api", "authorizer", "bridge", "sync", "reconcile")
"""The functions whose aliases make up what runs: all but `migrate`, which only operators invoke."""


class NoRegionGivenError(NoRegionError):
    """As boto3 would raise it, with what to do."""

    fmt = "there is no region: set AWS_REGION, or a region in the profile that AWS_PROFILE names"


def session() -> boto3.Session:
    """Give credentials and region as boto3 finds them, and the region also by AWS_REGION.

    The AWS CLI and Terraform read that variable, boto3 does not. Raises NoRegionGivenError.
    """
    found = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
    if not found.region_name:
        raise NoRegionGivenError
    return found


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one deployment; `suffix` is Terraform's variable `name_suffix`."""

    suffix: str = ""

    @property
    def all(self) -> str:
        """Give the name of the deployment as a whole, which is that of its API too."""
        return f"product-catalog{self.suffix}"

    def function(self, role: str) -> str:
        """Give the name of a function."""
        return f"{self.all}-{role}"

    def alarm(self, key: str) -> str:
        """Give the name of an alarm of alarms.yaml."""
        return f"{self.all}-{key}"

    @property
    def queue(self) -> str:
        """Give the name of the queue of single changes."""
        return f"product-sync{self.suffix}"

    @property
    def dead_letters(self) -> str:
        """Give the name of the dead-letter queue."""
        return f"product-sync-dlq{self.suffix}"
