"""The rendered manifests, as objects that can be asked: what would run, with which settings."""

from __future__ import annotations

import base64
import copy
import functools
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "kubernetes" / "overlays"
COMPONENTS = ROOT / "kubernetes" / "components"
ROLES = ("api", "bridge", "sync", "reconcile")
WORKLOADS = ("Deployment", "StatefulSet", "CronJob", "DaemonSet", "Job")
COMPONENT = "app.kubernetes.io/component"


@functools.cache
def _rendered(folder: Path) -> tuple[Json, ...]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: it renders the manifests")
    command = [kubectl, "kustomize", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return tuple(yaml.safe_load_all(answer.stdout))


def render(overlay: str, overlays: Path = OVERLAYS) -> Cluster:
    """Render an overlay; the copy may be changed."""
    return Cluster(overlay, copy.deepcopy(list(_rendered(overlays / overlay))))


@functools.cache
def _with_components(names: tuple[str, ...]) -> tuple[Json, ...]:
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "kubernetes"
        shutil.copytree(ROOT / "kubernetes", copied)
        overlay = copied / "overlays" / "production"
        with (overlay / "kustomization.yaml").open("a") as kustomization:
            kustomization.write(f"components: [{', '.join(map(documented, names))}]\n")
        if "secrets-manager" in names:
            with (overlay / "settings.env").open("a") as settings:
                settings.write("CATALOG_SECRET_ID=catalog\n")
        return _rendered(overlay)


def documented(component: str) -> str:
    """How an overlay names a component, as that says at its head."""
    text = (COMPONENTS / component / "kustomization.yaml").read_text()
    (path,) = re.findall(r"^#   components: \[(\S+)\]\n", text, re.MULTILINE)
    return str(path)


def with_components(*names: str) -> Cluster:
    """Render production with these components, added as they say."""
    return Cluster("production", copy.deepcopy(list(_with_components(names))))


def example_secret() -> Json:
    """The Secret that production's is made from, by hand."""
    path = OVERLAYS / "production" / "secrets.example.yaml"
    content: Json = yaml.safe_load(path.read_text())
    return content


@dataclass(frozen=True)
class Container:
    """One container of a workload."""

    workload: Json
    spec: Json

    def __str__(self) -> str:
        return f"{self.workload['metadata']['name']}/{self.spec['name']}"

    @property
    def pod(self) -> Json:
        """The pod's spec."""
        spec: Json = self.workload["spec"]["template"]["spec"]
        return spec

    def port(self, reference: str | int) -> int | None:
        """The number of a port that it declares, by name or number."""
        for port in self.spec.get("ports", []):
            if reference in (port["name"], port["containerPort"]):
                return int(port["containerPort"])
        return None

    def probes(self) -> Iterator[tuple[str, Json]]:
        """Its probes, by name."""
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if name in self.spec:
                yield name, self.spec[name]


@dataclass
class Cluster:
    """What an overlay renders to."""

    overlay: str
    objects: list[Json]

    def kind(self, *kinds: str) -> list[Json]:
        """All objects of these kinds."""
        return [item for item in self.objects if item["kind"] in kinds]

    def get(self, kind: str, name: str) -> Json:
        """The one object of this kind and name."""
        (found,) = [item for item in self.kind(kind) if item["metadata"]["name"] == name]
        return found

    def workloads(self) -> list[Json]:
        """Everything that makes pods."""
        return self.kind(*WORKLOADS)

    def containers(self) -> list[Container]:
        """Every container, those that run first included."""
        return [
            Container(workload, spec)
            for workload in self.workloads()
            for key in ("initContainers", "containers")
            for spec in workload["spec"]["template"]["spec"].get(key, [])
        ]

    def role(self, name: str) -> Container:
        """The main container of a role."""
        workload = self.get("Deployment", name)
        (found,) = workload["spec"]["template"]["spec"]["containers"]
        return Container(workload, found)

    def migration(self) -> Container:
        """The container of the Job that makes the indexes."""
        workload = self.get("Job", "migrate")
        (found,) = workload["spec"]["template"]["spec"]["containers"]
        return Container(workload, found)

    def secrets(self) -> dict[str, dict[str, str]]:
        """What each Secret holds; production's is made by hand, from the example."""
        if self.overlay == "production":
            example = example_secret()
            return {example["metadata"]["name"]: example["stringData"]}
        # kustomize encodes what it generates.
        return {
            item["metadata"]["name"]: {
                key: _decoded(value) for key, value in item.get("data", {}).items()
            }
            for item in self.kind("Secret")
        }

    def environment(self, container: Container) -> dict[str, str]:
        """The variables that a container gets. Raises KeyError for what does not exist."""
        maps = {item["metadata"]["name"]: item["data"] for item in self.kind("ConfigMap")}
        environment: dict[str, str] = {}
        for source in container.spec.get("envFrom", []):
            if "configMapRef" in source:
                environment |= maps[source["configMapRef"]["name"]]
            else:
                environment |= self.secrets()[source["secretRef"]["name"]]
        return environment | {item["name"]: item["value"] for item in container.spec.get("env", [])}

    def selected(self, labels: Json) -> list[Json]:
        """The workloads whose pods have all of these labels."""
        return [item for item in self.workloads() if labels.items() <= pod_labels(item).items()]


def pod_labels(workload: Json) -> dict[str, str]:
    """The labels of a workload's pods."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a label selector (matchLabels, and In of matchExpressions) takes these labels."""
    wanted: Json = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
