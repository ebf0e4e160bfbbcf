"""Both overlays are valid and hang together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest

from chalicelib.settings import SECRET_NAMES, read_settings
from tests.kubernetes import checks
from tests.kubernetes.checks.schema import KUBERNETES
from tests.kubernetes.cluster import (
    COMPONENTS,
    OVERLAYS,
    ROLES,
    ROOT,
    Cluster,
    documented,
    example_secret,
    render,
    with_components,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KUBERNETES_PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", ["development", "production"])
def test_an_overlay_has_no_fault(overlay: str, check: Callable[[Cluster], Iterator[str]]) -> None:
    assert list(check(render(overlay))) == []


@pytest.mark.parametrize("component", sorted(it.name for it in COMPONENTS.iterdir()))
def test_production_with_a_component_has_no_fault(component: str) -> None:
    assert documented(component) == f"../../components/{component}"
    cluster = with_components(component)
    assert [it for check in checks.CHECKS for it in check(cluster)] == []


def test_production_with_several_components_has_no_fault() -> None:
    # The secret is either the operator's work or read by the pods.
    several = {it.name for it in COMPONENTS.iterdir()} - {"secrets-manager", "argo-cd"}
    cluster = with_components(*sorted(several), "argo-cd")
    assert [it for check in checks.CHECKS for it in check(cluster)] == []


def test_the_operator_gets_what_is_scraped_and_the_rules_in_the_namespace_of_the_pods() -> None:
    objects = with_components("prometheus-operator").objects
    added = [it for it in objects if "monitoring.coreos.com" in it["apiVersion"]]
    assert {it["kind"] for it in added} == {"PodMonitor", "PrometheusRule"}
    assert {it["metadata"]["namespace"] for it in added} == {"product-catalog"}


def test_every_overlay_is_checked() -> None:
    assert {path.name for path in OVERLAYS.iterdir()} == {"development", "production"}


def test_production_has_what_development_has_not() -> None:
    kinds = {item["kind"] for item in render("production").objects}
    assert {"ScaledObject", "PodDisruptionBudget", "Ingress"} <= kinds


def test_two_pods_of_a_role_are_not_lost_with_one_node() -> None:
    cluster = render("production")
    for role in ("api", "bridge", "sync"):
        rules = cluster.role(role).pod["topologySpreadConstraints"]
        keys = {it["topologyKey"] for it in rules}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, role


def test_production_runs_nothing_but_the_four_roles_and_the_migration() -> None:
    names = {it["metadata"]["name"] for it in render("production").workloads()}
    assert names == {*ROLES, "migrate"}


@pytest.mark.parametrize(
    ("components", "more"),
    [((), set()), (("external-secrets",), {"SecretStore", "ExternalSecret"})],
)
def test_the_documented_migration_before_a_release_has_all_that_it_needs(
    components: tuple[str, ...], more: set[str]
) -> None:
    command = re.search(r"kubectl apply -k \S+ -l (\S+)=(\S+)$", KUBERNETES_PAGE, re.MULTILINE)
    assert command is not None
    label, value = command.groups()
    cluster = with_components(*components)
    cluster.objects = [
        it for it in cluster.objects if it["metadata"].get("labels", {}).get(label) == value
    ]
    kinds = {it["kind"] for it in cluster.objects}
    assert kinds == {"Job", "ServiceAccount", "ConfigMap"} | more
    account = cluster.migration().pod["serviceAccountName"]
    assert cluster.get("ServiceAccount", account)
    (settings,) = cluster.kind("ConfigMap")
    assert cluster.migration().spec["envFrom"][0]["configMapRef"] == {
        "name": settings["metadata"]["name"]
    }


def test_argo_cd_migrates_after_what_the_job_needs_and_before_the_roles() -> None:
    cluster = with_components("external-secrets", "argo-cd")
    waves: dict[str, set[int]] = {}
    for item in cluster.objects:
        wave = item["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0")
        waves.setdefault(item["kind"], set()).add(int(wave))
    assert waves["Job"] == {-1}
    before = {"Namespace", "ServiceAccount", "ConfigMap", "SecretStore", "ExternalSecret"}
    assert {wave for kind in (*before, "NetworkPolicy") for wave in waves[kind]} == {-2}
    assert waves["Deployment"] == {0}
    annotations = cluster.migration().workload["metadata"]["annotations"]
    # Before the sync its ConfigMap would not be there.
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_without_prometheus_the_api_is_scaled_by_cpu_and_nothing_else() -> None:
    cluster = with_components("scaling-by-cpu")
    assert [it["metadata"]["name"] for it in cluster.kind("ScaledObject")] == ["sync"]
    (metric,) = cluster.get("HorizontalPodAutoscaler", "api")["spec"]["metrics"]
    assert metric["resource"]["name"] == "cpu"


def test_production_keeps_its_secrets_out_of_git() -> None:
    assert render("production").kind("Secret") == []


def test_the_example_of_the_secret_is_one_and_becomes_settings() -> None:
    example = example_secret()
    kubernetes_validate.validate(example, KUBERNETES, strict=True)
    assert example["metadata"] == {"name": "secrets", "namespace": "product-catalog"}
    assert set(example["stringData"]) == SECRET_NAMES
    cluster = render("production")
    settings = read_settings(cluster.environment(cluster.role("api")))
    # A file of credentials: an env file cannot hold more than one line.
    assert len((settings.nats_credentials or "").splitlines()) > 1


def test_an_external_secret_makes_the_secret_that_the_pods_read() -> None:
    cluster = with_components("external-secrets")
    external = cluster.get("ExternalSecret", "secrets")["spec"]
    sources = cluster.role("api").spec["envFrom"]
    assert {"secretRef": {"name": external["target"]["name"]}} in sources
    assert cluster.get("SecretStore", external["secretStoreRef"]["name"])


def test_pods_that_read_secrets_manager_have_no_secret() -> None:
    cluster = with_components("secrets-manager")
    for container in (*map(cluster.role, ROLES), cluster.migration()):
        assert "MONGODB_URI" not in cluster.environment(container), container


# The migration has one for the component secrets-manager.
@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_by_web_identity_each_role_has_an_iam_role_of_its_own(role: str) -> None:
    account = with_components("irsa").get("ServiceAccount", role)
    arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert arn.endswith(f":role/product-catalog-{role}-eu-central-1")


def test_by_pod_identity_the_manifests_name_no_iam_role() -> None:
    assert all(
        "annotations" not in it["metadata"] for it in render("production").kind("ServiceAccount")
    )


def test_with_cilium_every_pod_reaches_the_agent_on_its_node_and_nothing_else_there() -> None:
    policy = with_components("cilium").get("CiliumNetworkPolicy", "to-pod-identity")
    labels = policy["spec"]["endpointSelector"]["matchLabels"]
    cluster = with_components("cilium", "secrets-manager")
    assert len(cluster.selected(labels)) == len(cluster.workloads())
    (rule,) = policy["spec"]["egress"]
    assert rule["toEntities"] == ["host"]
    assert rule["toPorts"] == [{"ports": [{"port": "80", "protocol": "TCP"}]}]


def test_terraform_gives_a_role_to_each_service_account_of_the_manifests() -> None:
    table = (ROOT / "terraform" / "kubernetes" / "roles.tf").read_text()
    (names,) = re.findall(r"for name in \[([^\]]+)\] : name => var.namespace", table)
    accounts = {it["metadata"]["name"] for it in render("production").kind("ServiceAccount")}
    assert set(re.findall(r'"([^"]+)"', names)) == accounts


def test_all_pods_together_leave_mongodb_half_of_its_connections() -> None:
    cluster = render("production")
    most = {
        role: cluster.get("ScaledObject", role)["spec"]["maxReplicaCount"]
        for role in ("api", "sync")
    }
    pool = int(cluster.environment(cluster.role("api"))["MONGODB_MAX_POOL_SIZE"])
    # The bridge has no connection to MongoDB.
    processes = (
        2 * most["api"] + most["sync"] + cluster.get("Deployment", "reconcile")["spec"]["replicas"]
    )
    connections = processes * (pool + 2)
    assert f"= {connections}, below half of the 1,500" in KUBERNETES_PAGE
    assert connections < 1_500 / 2


def test_a_selector_of_a_deployment_is_never_changed_by_an_overlay() -> None:
    """It cannot be changed in a running cluster."""
    selectors = [
        {role: render(overlay).get("Deployment", role)["spec"]["selector"] for role in ROLES}
        for overlay in ("development", "production")
    ]
    assert selectors[0] == selectors[1]
