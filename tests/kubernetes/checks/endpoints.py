"""Probes and ports."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app import app
from chalicelib.http import contract, wsgi
from functions import alive
from tests.kubernetes.checks.workloads import HEARTBEAT
from tests.kubernetes.cluster import Cluster, Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.cluster import Json


ALB = "alb.ingress.kubernetes.io/"
HEALTHCHECK_PATH = f"{ALB}healthcheck-path"
# TLS 1.3, or 1.2 with the restricted ciphers too.
TLS_POLICY = r"ELBSecurityPolicy-TLS13-1-(2-Res|3)(-PQ)?-\d{4}-\d{2}"
# What the probes of the servers that are not ours ask; the embedded ones answer the same.
SERVER_ROUTES = {
    "nats": {"/healthz"},
    "sqs": {"/_ministack/health"},
    "supply-chain": {"/health"},
}


def probes(cluster: Cluster) -> Iterator[str]:
    """Every container that serves or loops is asked, on a port of its own, what it answers."""
    for container in cluster.containers():
        asked = dict(container.probes())
        sidecar = container.spec["name"] == "queues"
        # What runs first, and a Job, end by themselves.
        lasts = container.workload["kind"] != "Job"
        runs = lasts and container.spec in container.pod["containers"]
        if runs and not sidecar and not {"startupProbe", "livenessProbe"} <= set(asked):
            yield f"{container} is not asked whether it is alive"
        if runs and _serves(cluster, container) and "readinessProbe" not in asked:
            yield f"{container} is not asked whether it is ready"
        for name, probe in asked.items():
            for fault in _probe_faults(container, probe):
                yield f"{container}: {name}: {fault}"


def _serves(cluster: Cluster, container: Container) -> bool:
    """Whether a Service sends to its pod, which is ready once each of its containers is."""
    return any(
        container.workload in cluster.selected(item["spec"]["selector"])
        for item in cluster.kind("Service")
    )


def api_probes(cluster: Cluster) -> Iterator[str]:
    """The API is alive while it answers, and ready while MongoDB answers too."""
    for name, probe in cluster.role("api").probes():
        wanted = f"{wsgi.BASE}/{'ready' if name == 'readinessProbe' else 'health'}"
        if probe.get("httpGet", {}).get("path") != wanted:
            yield f"api: {name} does not ask {wanted}"


def _probe_faults(container: Container, probe: Json) -> Iterator[str]:
    if "exec" in probe:
        yield from _command_faults(probe["exec"]["command"])
        return
    action = probe.get("httpGet") or probe["tcpSocket"]
    if container.port(action["port"]) is None:
        yield f"there is no port {action['port']}"
    if "httpGet" in probe and not _answers(container, urlsplit(action["path"]).path):
        yield f"there is no route {action['path']}"


def _command_faults(command: list[str]) -> Iterator[str]:
    """The probes by command look at the file that the entry point writes."""
    assert HEARTBEAT is not None
    if HEARTBEAT[1] not in command:
        yield f"{command} does not look at {HEARTBEAT[1]}"
    if command[0] != "test" and command[:3] != ["python", "-m", alive.__name__]:
        yield f"{command} is nothing that the image has"


def _answers(container: Container, path: str) -> bool:
    name = container.workload["metadata"]["name"]
    if name != "api":
        return path in SERVER_ROUTES[name]
    route = path.removeprefix(wsgi.BASE)
    return (
        path.startswith(f"{wsgi.BASE}/")
        and "GET" in app.routes.get(route, {})
        # A probe has no token.
        and any(o.path == route and not o.scopes for o in contract.OPERATIONS)
    )


def ports(cluster: Cluster) -> Iterator[str]:
    """Services, settings, policies and the Ingress name ports that somebody listens on."""
    api = cluster.role("api")
    if str(api.port("http")) != cluster.environment(api).get("PORT"):
        yield "api: PORT is not the port of its container"
    for item in cluster.kind("Service"):
        for port in item["spec"]["ports"]:
            if listening(cluster, item["spec"]["selector"], port["targetPort"]) is None:
                yield f"Service {item['metadata']['name']}: nobody listens on {port['targetPort']}"
    yield from _ingress_faults(cluster)
    yield from _address_faults(cluster)
    for item in cluster.kind("NetworkPolicy"):
        yield from _policy_port_faults(cluster, item)


def listening(cluster: Cluster, labels: Json, reference: str | int) -> int | None:
    """The port with this name or number of the pods with these labels, None if they have none."""
    for workload in cluster.selected(labels):
        for spec in workload["spec"]["template"]["spec"]["containers"]:
            if found := Container(workload, spec).port(reference):
                return found
    return None


def _ingress_faults(cluster: Cluster) -> Iterator[str]:
    served = {
        (item["metadata"]["name"], port["name"])
        for item in cluster.kind("Service")
        for port in item["spec"]["ports"]
    }
    for item in cluster.kind("Ingress"):
        asked = item["metadata"].get("annotations", {}).get(HEALTHCHECK_PATH, "/api/ready")
        if not _answers(cluster.role("api"), asked):
            yield f"Ingress: there is no route {asked}"
        for rule in item["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                if (service["name"], service["port"]["name"]) not in served:
                    yield f"Ingress: no Service {service}"
                if (path["path"], path["pathType"]) != (wsgi.BASE, "Prefix"):
                    yield f"Ingress: {path['path']} is not where the API is"


def load_balancer(cluster: Cluster) -> Iterator[str]:
    """The way in from the internet speaks TLS 1.2 or newer and nothing else, and has a limit."""
    for item in cluster.kind("Ingress"):
        given = item["metadata"].get("annotations", {})
        if given.get(f"{ALB}scheme") != "internet-facing":
            continue
        if not re.fullmatch(TLS_POLICY, given.get(f"{ALB}ssl-policy", "")):
            yield f"Ingress: {given.get(f'{ALB}ssl-policy')} allows old TLS or old ciphers"
        listens = {name for it in json.loads(given[f"{ALB}listen-ports"]) for name in it.items()}
        if listens != {("HTTP", 80), ("HTTPS", 443)} or given.get(f"{ALB}ssl-redirect") != "443":
            yield "Ingress: HTTP is not redirected"
        if ":regional/webacl/" not in given.get(f"{ALB}wafv2-acl-arn", ""):
            yield "Ingress: nothing limits the rate"


def _address_faults(cluster: Cluster) -> Iterator[str]:
    """Settings that point into the cluster point at a Service and its port."""
    served = {
        f"{item['metadata']['name']}:{port['port']}"
        for item in cluster.kind("Service")
        for port in item["spec"]["ports"]
    }
    for name, value in cluster.environment(cluster.role("sync")).items():
        address = urlsplit(value)
        inside = address.hostname and "." not in address.hostname
        if inside and f"{address.hostname}:{address.port}" not in served:
            yield f"{name}: no Service at {address.netloc}"


def _policy_port_faults(cluster: Cluster, policy: Json) -> Iterator[str]:
    name = policy["metadata"]["name"]
    for rule in policy["spec"].get("ingress", []):
        for port in rule["ports"]:
            labels = policy["spec"]["podSelector"].get("matchLabels", {})
            if listening(cluster, labels, port["port"]) is None:
                yield f"NetworkPolicy {name}: nobody listens on {port['port']}"
    for rule in policy["spec"].get("egress", []):
        for peer in rule["to"]:
            labels = peer.get("podSelector", {}).get("matchLabels")
            if labels is None or "namespaceSelector" in peer:
                continue
            for port in rule["ports"]:
                if listening(cluster, labels, port["port"]) is None:
                    yield f"NetworkPolicy {name}: nobody listens on {port['port']}"
