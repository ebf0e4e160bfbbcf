"""Who finds whom: selectors, targets, accounts, budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.http import contract
from chalicelib.metrics import HTTP_REQUESTS
from tests.kubernetes.checks.workloads import BATCH
from tests.kubernetes.cluster import COMPONENT, ROLES, Cluster, matches, pod_labels

BULK_LENGTH = 5_000
"""Bulk messages for each pod: an import does not start all pods at once."""
PROBED = ("/health", "/ready")
TRANSFER = "scaledobject.keda.sh/transfer-hpa-ownership"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.cluster import Json


def selectors(cluster: Cluster) -> Iterator[str]:
    """Every selector takes the pods that it is for, and every target exists."""
    # Kubernetes makes the selector of a Job.
    for item in cluster.kind("Deployment", "StatefulSet"):
        if not matches(item["spec"]["selector"], pod_labels(item)):
            yield f"{item['kind']} {item['metadata']['name']} does not select its own pods"
        if set(item["spec"]["selector"]["matchLabels"]) != {COMPONENT}:
            yield f"{item['metadata']['name']}: a selector with a label that may change"
    for item in cluster.kind("Service"):
        if len(cluster.selected(item["spec"]["selector"])) != 1:
            yield f"Service {item['metadata']['name']} selects not one workload"
    for item in cluster.kind("PodDisruptionBudget", "NetworkPolicy"):
        for selector in _pod_selectors(item):
            if not any(matches(selector, pod_labels(workload)) for workload in cluster.workloads()):
                yield f"{item['kind']} {item['metadata']['name']} selects nothing: {selector}"
    yield from _unselected(cluster)


def _pod_selectors(item: Json) -> Iterator[Json]:
    spec = item["spec"]
    yield spec.get("selector") or spec.get("podSelector") or {}
    for peer in _peers(item):
        # Pods of another namespace are not ours to see.
        if "podSelector" in peer and "namespaceSelector" not in peer:
            yield peer["podSelector"]


def _peers(policy: Json) -> Iterator[Json]:
    for rule in policy["spec"].get("ingress", []):
        yield from rule.get("from", [])
    for rule in policy["spec"].get("egress", []):
        yield from rule.get("to", [])


def _unselected(cluster: Cluster) -> Iterator[str]:
    """A value in a list of components that no pod has."""
    components = {pod_labels(item).get(COMPONENT) for item in cluster.workloads()}
    for item in cluster.kind("NetworkPolicy"):
        for selector in _pod_selectors(item):
            for rule in selector.get("matchExpressions", []):
                for name in set(rule["values"]) - components:
                    yield f"NetworkPolicy {item['metadata']['name']}: no pod is called {name}"


def targets(cluster: Cluster) -> Iterator[str]:
    """What scales has a Deployment; a Deployment has a number, or what scales it, never both."""
    scaled = set[str]()
    for item in cluster.kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = item["spec"]["scaleTargetRef"]["name"]
        if target in scaled:
            yield f"Deployment {target} is scaled twice"
        scaled.add(target)
        found = [it for it in cluster.kind("Deployment") if it["metadata"]["name"] == target]
        if not found:
            yield f"{item['kind']} {item['metadata']['name']}: no Deployment {target}"
        elif "replicas" in found[0]["spec"]:
            yield f"Deployment {target} has replicas, and {item['kind']} sets them too"
    for item in cluster.kind("Deployment"):
        if "replicas" not in item["spec"] and item["metadata"]["name"] not in scaled:
            yield f"Deployment {item['metadata']['name']}: nothing says how many"
    yield from _account_faults(cluster)


def _account_faults(cluster: Cluster) -> Iterator[str]:
    for item in cluster.workloads():
        account = item["spec"]["template"]["spec"].get("serviceAccountName", "default")
        accounts = {it["metadata"]["name"] for it in cluster.kind("ServiceAccount")} | {"default"}
        if account not in accounts:
            yield f"{item['metadata']['name']}: no ServiceAccount {account}"
    for role in ROLES:
        if cluster.role(role).pod.get("serviceAccountName") != role:
            yield f"{role} has the rights of another"


def budgets(cluster: Cluster) -> Iterator[str]:
    """A node can always be drained: a pod may go, and one that is not ready holds nothing up."""
    for item in cluster.kind("PodDisruptionBudget"):
        name, spec = item["metadata"]["name"], item["spec"]
        if not spec.get("maxUnavailable"):
            yield f"PodDisruptionBudget {name} allows no eviction"
        if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"PodDisruptionBudget {name} keeps pods that are not ready"


def queue_scaling(cluster: Cluster) -> Iterator[str]:
    """KEDA looks at the queues that the sync pods read, as they read them."""
    environment = cluster.environment(cluster.role("sync"))
    for item in _scaled_objects(cluster, "sync"):
        single, bulk = item["spec"]["triggers"]
        lengths = (int(environment["SYNC_POLLERS"]) * BATCH, BULK_LENGTH)
        urls = (environment["SYNC_QUEUE_URL"], environment["SYNC_BULK_QUEUE_URL"])
        for trigger, url, length in zip((single, bulk), urls, lengths, strict=True):
            expected = {
                "queueURL": url,
                "awsRegion": environment["AWS_DEFAULT_REGION"],
                "queueLength": str(length),
                "scaleOnInFlight": "false",
            }
            if trigger["metadata"] != expected:
                yield f"ScaledObject: {trigger['metadata']}, must be {expected}"
            names = {it["metadata"]["name"] for it in cluster.kind("TriggerAuthentication")}
            if trigger["authenticationRef"]["name"] not in names:
                yield f"ScaledObject: no {trigger['authenticationRef']}"


def request_scaling(cluster: Cluster) -> Iterator[str]:
    """KEDA counts the requests of the API, by what it exports, without those of the probes."""
    probed = sorted(it.name for it in contract.OPERATIONS if it.path in PROBED)
    requests = f'{HTTP_REQUESTS.in_prometheus}{{operation!~"{"|".join(probed)}"}}'
    every = f"sum(rate({HTTP_REQUESTS.in_prometheus}[2m]))"
    for item in _scaled_objects(cluster, "api"):
        asked, cpu = item["spec"]["triggers"]
        if asked["metadata"]["query"] != f"sum(rate({requests}[2m])) or 0 * {every}":
            yield f"ScaledObject api: it asks for {asked['metadata']['query']}"
        if asked["metadata"].get("ignoreNullValues") != "false" or "fallback" in item["spec"]:
            yield "ScaledObject api: it scales down while Prometheus is away"
        if (cpu["type"], cpu["metricType"]) != ("cpu", "Utilization"):
            yield "ScaledObject api: nothing counts what a request costs"
        # The name of the autoscaler of production, which may be there.
        name = item["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"]
        if (name, item["metadata"]["annotations"].get(TRANSFER)) != ("api", "true"):
            yield "ScaledObject api: KEDA refuses it beside the autoscaler that is there"


def _scaled_objects(cluster: Cluster, target: str) -> list[Json]:
    found = cluster.kind("ScaledObject")
    return [it for it in found if it["spec"]["scaleTargetRef"]["name"] == target]
