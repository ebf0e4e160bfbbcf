"""What Prometheus needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kubernetes.checks.access import rules_for
from tests.kubernetes.cluster import COMPONENT, ROLES, Cluster, Container, matches, pod_labels

if TYPE_CHECKING:
    from collections.abc import Iterator


def metrics(cluster: Cluster) -> Iterator[str]:
    """Each role serves metrics where its annotations say, to Prometheus and nobody else."""
    for role in ROLES:
        container = cluster.role(role)
        port = container.port("metrics")
        if str(port) != cluster.environment(container).get("METRICS_PORT"):
            yield f"{role}: METRICS_PORT is not the port of its container"
        if _annotated(container) != {"scrape": "true", "port": str(port), "path": "/metrics"}:
            yield f"{role}: its annotations say {_annotated(container)}"
        peers = [
            peer
            for rule in rules_for(cluster, "ingress", {COMPONENT: role}, port or 0)
            for peer in rule.get("from", [{}])
        ]
        if not peers or any(peer.keys() != {"namespaceSelector"} for peer in peers):
            yield f"{role}: its metrics are for {peers}"
        for monitor in cluster.kind("PodMonitor"):
            endpoints = monitor["spec"]["podMetricsEndpoints"]
            chosen = matches(monitor["spec"]["selector"], pod_labels(container.workload))
            if not chosen or [it["port"] for it in endpoints] != ["metrics"]:
                yield f"{role}: the PodMonitor does not find its metrics"


def _annotated(container: Container) -> dict[str, str]:
    given = container.workload["spec"]["template"]["metadata"].get("annotations", {})
    prefix = "prometheus.io/"
    return {
        name.removeprefix(prefix): text for name, text in given.items() if name.startswith(prefix)
    }
