"""What no schema sees: each check names the faults of a rendered overlay, none if all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kubernetes.checks.access import credentials, network
from tests.kubernetes.checks.configuration import secrets, settings
from tests.kubernetes.checks.endpoints import api_probes, load_balancer, ports, probes
from tests.kubernetes.checks.metrics import metrics
from tests.kubernetes.checks.references import (
    budgets,
    queue_scaling,
    request_scaling,
    selectors,
    targets,
)
from tests.kubernetes.checks.schema import schemas
from tests.kubernetes.checks.workloads import images, migration, resources, roles, security, volumes
from tests.kubernetes.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


CHECKS: tuple[Callable[[Cluster], Iterator[str]], ...] = (
    schemas,
    settings,
    secrets,
    selectors,
    targets,
    budgets,
    queue_scaling,
    request_scaling,
    probes,
    api_probes,
    ports,
    load_balancer,
    metrics,
    images,
    security,
    resources,
    roles,
    migration,
    volumes,
    network,
    credentials,
)
