"""Who may talk to whom."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from chalicelib.settings import secret_id
from tests.kubernetes.checks.endpoints import listening
from tests.kubernetes.cluster import COMPONENT, ROLES, Cluster, matches, pod_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.cluster import Json


# Who needs whom, by the parts that chalicelib/bootstrap.py gives each role.
NEEDS = {
    "mongodb": {"api", "sync", "reconcile", "migrate"},
    "nats": {"api", "bridge", "sync", "reconcile", "migrate"},
    "sqs": {"api", "bridge", "sync", "reconcile"},
    "supply-chain": {"sync", "reconcile"},
}
# On each node, by IPv4 and IPv6: the agent of EKS Pod Identity, and the metadata, which would give
# a pod the IAM role of the node.
AGENT = ("169.254.170.23", "fd00:ec2::23")
METADATA = ("169.254.169.254", "fd00:ec2::254")


def network(cluster: Cluster) -> Iterator[str]:
    """Nothing may talk but who needs to, and they may on both sides."""
    policies = cluster.kind("NetworkPolicy")
    deny = [it for it in policies if it["spec"]["podSelector"] == {} and len(it["spec"]) == 2]
    if not any(set(it["spec"]["policyTypes"]) == {"Ingress", "Egress"} for it in deny):
        yield "nothing denies by default"
    for server, clients in NEEDS.items():
        for role in (*ROLES, "migrate"):
            allowed = _may_talk(cluster, role, server)
            if allowed is not None and allowed != (role in clients):
                yield f"{role} may {'' if allowed else 'not '}talk to {server}"
    for workload in cluster.workloads():
        if not _may_ask_for_names(cluster, pod_labels(workload)):
            yield f"{workload['metadata']['name']} may not ask for names"
    if not _may_come_in(cluster):
        yield "nobody may talk to api"


def _may_ask_for_names(cluster: Cluster, labels: dict[str, str]) -> bool:
    """By UDP, and by TCP for an answer that does not fit."""
    server = {"k8s-app": "kube-dns", "kubernetes.io/metadata.name": "kube-system"}
    return all(
        any(
            "namespaceSelector" in peer
            and matches(peer["namespaceSelector"], server)
            and matches(peer.get("podSelector", {}), server)
            for rule in rules_for(cluster, "egress", labels, 53, protocol)
            for peer in rule["to"]
        )
        for protocol in ("UDP", "TCP")
    )


def _may_come_in(cluster: Cluster) -> bool:
    """Whether the API's port is open for whoever is before it, outside of the namespace."""
    labels, number = {COMPONENT: "api"}, cluster.role("api").port("http")
    return any(
        {"namespaceSelector", "ipBlock"} & peer.keys()
        for rule in rules_for(cluster, "ingress", labels, number or 0)
        for peer in rule["from"]
    )


def _may_talk(cluster: Cluster, client: str, server: str) -> bool | None:
    """Whether both sides allow it; None if the port is open for another server's sake."""
    labels = {name: {COMPONENT: name} for name in (client, server)}
    inside = bool(cluster.selected(labels[server]))
    number = {"mongodb": 27017, "nats": 4222, "sqs": 4566, "supply-chain": 8900}[server]
    if not inside and server in ("sqs", "supply-chain"):
        # Both are behind HTTPS, as the key set and STS are.
        number = 443
        if client not in NEEDS[server]:
            return None
    out = rules_for(cluster, "egress", labels[client], number)
    if not inside:
        return any("ipBlock" in peer for rule in out for peer in rule["to"])
    leaves = any(_is_peer(peer, labels[server]) for rule in out for peer in rule["to"])
    into = rules_for(cluster, "ingress", labels[server], number)
    return leaves and any(_is_peer(peer, labels[client]) for r in into for peer in r["from"])


def rules_for(
    cluster: Cluster, way: str, labels: dict[str, str], port: int, protocol: str = "TCP"
) -> Iterator[Json]:
    """Give the rules of all policies for pods with these labels, and this port of theirs."""
    for policy in cluster.kind("NetworkPolicy"):
        if matches(policy["spec"]["podSelector"], labels):
            for rule in policy["spec"].get(way, []):
                if any(
                    _has(cluster, labels, given, port) and given["protocol"] == protocol
                    for given in rule["ports"]
                ):
                    yield rule


def _has(cluster: Cluster, labels: dict[str, str], given: Json, port: int) -> bool:
    first: str | int = given["port"]
    if isinstance(first, str):
        # A port of the pods that the policy is for.
        return listening(cluster, labels, first) == port
    last: int = given.get("endPort", first)
    return first <= port <= last


def _is_peer(peer: Json, labels: dict[str, str]) -> bool:
    return "podSelector" in peer and matches(peer["podSelector"], labels)


def credentials(cluster: Cluster) -> Iterator[str]:
    """Who uses AWS reaches the agent that gives it its IAM role; nobody reaches the metadata."""
    for container in (*map(cluster.role, ROLES), cluster.migration()):
        name = container.workload["metadata"]["name"]
        environment = cluster.environment(container)
        uses = name in NEEDS["sqs"] or bool(secret_id(environment))
        on_aws = "AWS_ENDPOINT_URL_SQS" not in environment
        for address in AGENT:
            if _reaches(cluster, name, address, 80) != (uses and on_aws):
                yield f"{name} may {'not ' if uses and on_aws else ''}reach the agent at {address}"
        if any(_reaches(cluster, name, address) for address in METADATA):
            yield f"{name} may reach the metadata of the node"


def _reaches(cluster: Cluster, name: str, address: str, port: int | None = None) -> bool:
    """Whether pods may connect to an address outside of the cluster, on this or on any port."""
    blocks = [
        peer["ipBlock"]
        for policy in cluster.kind("NetworkPolicy")
        if matches(policy["spec"]["podSelector"], {COMPONENT: name})
        for rule in policy["spec"].get("egress", [])
        if port is None or any(given["port"] == port for given in rule["ports"])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    return any(
        ip_address(address) in ip_network(block["cidr"])
        and not any(ip_address(address) in ip_network(it) for it in block.get("except", []))
        for block in blocks
    )
