"""Both overlays are valid and hang together."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest

from chalicelib.settings import SECRET_NAMES, read_settings
from tests.kubernetes import checks
from tests.kubernetes.checks.schema import KUBERNETES
from tests.kubernetes.cluster import (
    OVERLAYS,
    ROLES,
    ROOT,
    Cluster,
    example_secret,
    render,
    with_operator,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KUBERNETES_PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", ["development", "production"])
def test_an_overlay_has_no_fault(overlay: str, check: Callable[[Cluster], Iterator[str]]) -> None:
    assert list(check(render(overlay))) == []


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_production_with_the_prometheus_operator_has_no_fault(
    check: Callable[[Cluster], Iterator[str]],
) -> None:
    assert list(check(with_operator())) == []


def test_the_operator_gets_what_is_scraped_and_the_rules_in_the_namespace_of_the_pods() -> None:
    added = [it for it in with_operator().objects if "monitoring.coreos.com" in it["apiVersion"]]
    assert {it["kind"] for it in added} == {"PodMonitor", "PrometheusRule"}
    assert {it["metadata"]["namespace"] for it in added} == {"product-catalog"}


def test_every_overlay_is_checked() -> None:
    assert {path.name for path in OVERLAYS.iterdir()} == {"development", "production"}


def test_production_has_what_development_has_not() -> None:
    kinds = {item["kind"] for item in render("production").objects}
    assert {"HorizontalPodAutoscaler", "ScaledObject", "PodDisruptionBudget", "Ingress"} <= kinds


def test_production_runs_nothing_but_the_four_roles_and_the_migration() -> None:
    names = {it["metadata"]["name"] for it in render("production").workloads()}
    assert names == {*ROLES, "migrate"}


def test_the_documented_migration_before_a_release_has_all_that_it_needs() -> None:
    command = re.search(r"kubectl apply -k \S+ -l (\S+)=(\S+)$", KUBERNETES_PAGE, re.MULTILINE)
    assert command is not None
    label, value = command.groups()
    cluster = render("production")
    cluster.objects = [
        it for it in cluster.objects if it["metadata"].get("labels", {}).get(label) == value
    ]
    assert {it["kind"] for it in cluster.objects} == {"Job", "ServiceAccount", "ConfigMap"}
    account = cluster.migration().pod["serviceAccountName"]
    assert cluster.get("ServiceAccount", account)
    (settings,) = cluster.kind("ConfigMap")
    assert cluster.migration().spec["envFrom"][0]["configMapRef"] == {
        "name": settings["metadata"]["name"]
    }


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


def test_the_documented_way_to_secrets_manager_has_no_fault(tmp_path: Path) -> None:
    """What the page says is added to a copy of production, which is then held to every check."""
    shutil.copytree(OVERLAYS.parent, tmp_path / "kubernetes")
    overlays = tmp_path / "kubernetes" / "overlays"
    page = KUBERNETES_PAGE.partition("`CATALOG_SECRET_ID` in")[2]
    patch = page.partition("```yaml\n")[2].partition("```")[0]
    kustomization = overlays / "production" / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text() + patch.partition("patches:\n")[2])
    with (overlays / "production" / "settings.env").open("a") as settings:
        settings.write("CATALOG_SECRET_ID=catalog\nCORS_ORIGIN=https://shop.example.com\n")
    cluster = render("production", overlays)
    assert [it for check in checks.CHECKS for it in check(cluster)] == []
    for container in (*map(cluster.role, ROLES), cluster.migration()):
        assert "MONGODB_URI" not in cluster.environment(container), container
    # Development keeps its Secret.
    assert [it for check in checks.CHECKS for it in check(render("development", overlays))] == []


@pytest.mark.parametrize("role", ROLES)
def test_in_production_each_role_has_an_iam_role_of_its_own(role: str) -> None:
    account = render("production").get("ServiceAccount", role)
    arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert arn.endswith(f":role/product-catalog-{role}")


def test_a_selector_of_a_deployment_is_never_changed_by_an_overlay() -> None:
    """It cannot be changed in a running cluster."""
    selectors = [
        {role: render(overlay).get("Deployment", role)["spec"]["selector"] for role in ROLES}
        for overlay in ("development", "production")
    ]
    assert selectors[0] == selectors[1]
