"""The compose file, the Skaffold file and the image are valid, and fit the manifests."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.settings import read_settings
from embedded.services import ROLES, SERVERS
from functions import alive
from tests.kubernetes.cluster import ROOT, render

if TYPE_CHECKING:
    from tests.kubernetes.cluster import Json

COMPOSE = ROOT / "docker-compose.yml"
SKAFFOLD = ROOT / "skaffold.yaml"


# ---- compose ----


@pytest.fixture(scope="module")
def compose() -> Json:
    content: Json = yaml.safe_load(COMPOSE.read_text())
    return content


def compose_schema_says(path: Path) -> str:
    """Nothing, or what the compose specification's schema finds wrong with a file."""
    # Its copy of the schema comes with it; nothing is fetched.
    answer = CliRunner().invoke(
        check_jsonschema, ["--builtin-schema", "vendor.compose-spec", str(path)]
    )
    return "" if answer.exit_code == 0 else answer.output


def test_the_compose_file_follows_its_schema() -> None:
    assert compose_schema_says(COMPOSE) == ""


def test_a_compose_file_with_a_misspelt_key_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:", 1))
    assert "depend_on" in compose_schema_says(broken)


def test_compose_runs_the_roles_and_their_servers(compose: Json) -> None:
    servers = {"supply-chain" if name == "supplyChain" else name for name in SERVERS}
    assert set(compose["services"]) == {*ROLES, *servers, "queues", "migrate"}
    assert [compose["services"][role]["command"] for role in ROLES] == [[role] for role in ROLES]


def test_compose_makes_the_indexes_before_the_roles_start(compose: Json) -> None:
    service = compose["services"]["migrate"]
    assert service["entrypoint"] == render("development").migration().spec["command"]
    assert (service["restart"], "command" in service) == ("on-failure", False)
    # The image's health check looks for the heartbeat of a role.
    assert service["healthcheck"] == {"disable": True}


def test_compose_publishes_the_api_on_this_machine_and_nothing_else(compose: Json) -> None:
    published = {name: it["ports"] for name, it in compose["services"].items() if "ports" in it}
    assert published == {"api": ["127.0.0.1:${PORT:-8000}:8000"]}


def test_compose_gives_every_setting_that_the_code_requires(compose: Json) -> None:
    for role in (*ROLES, "migrate"):
        environment = compose["services"][role]["environment"]
        given = {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", v) for name, v in environment.items()}
        assert read_settings(given).jwt_secret
        assert "AWS_DEFAULT_REGION" in given


def test_compose_passes_on_what_a_restore_sets(compose: Json) -> None:
    for role in (*ROLES, "migrate"):
        mode = compose["services"][role]["environment"]["CATALOG_MODE"]
        assert mode == "${CATALOG_MODE:-normal}", role


def test_compose_and_the_development_overlay_have_the_same_settings(compose: Json) -> None:
    cluster = render("development")
    in_cluster = cluster.environment(cluster.role("sync"))
    for name, value in compose["services"]["sync"]["environment"].items():
        assert in_cluster[name] == re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value), name


def test_compose_and_the_development_overlay_run_the_same_images(compose: Json) -> None:
    in_compose = {service["image"] for service in compose["services"].values()}
    assert in_compose == {it.spec["image"] for it in render("development").containers()}


def builder_faults(services: Json) -> list[str]:
    """Two that export one tag at a time fail, and nobody else may ask a registry for it."""
    faults = []
    for image in {it["image"] for it in services.values() if "build" in it}:
        using = {name: it for name, it in services.items() if it["image"] == image}
        builders = [name for name, it in using.items() if "build" in it]
        if len(builders) != 1:
            faults.append(f"{image} is built by {builders}")
        others = {name: it.get("pull_policy") for name, it in using.items() if "build" not in it}
        faults += [f"{name} would pull {image}" for name in others if others[name] != "never"]
    images = {it["image"] for it in services.values() if it["image"].startswith("product-catalog")}
    built = {it["image"] for it in services.values() if "build" in it}
    return faults + [f"nobody builds {image}" for image in images - built]


def test_compose_builds_each_image_of_ours_once_and_pulls_none(compose: Json) -> None:
    assert builder_faults(compose["services"]) == []


@pytest.mark.parametrize(
    ("service", "change"),
    [
        ("sync", {"build": {"context": ".", "target": "catalog"}}),
        ("supply-chain", {"pull_policy": "missing"}),
        ("api", {"build": None}),
    ],
)
def test_an_image_built_twice_or_pulled_is_noticed(
    compose: Json, service: str, change: Json
) -> None:
    changed = {name: it for name, it in (compose["services"][service] | change).items() if it}
    assert builder_faults({**compose["services"], service: changed}) != []


def test_compose_waits_until_what_a_service_needs_is_healthy(compose: Json) -> None:
    services = compose["services"]
    for role in ROLES:
        needed = dict(services[role]["depends_on"])
        assert needed.pop("migrate") == {"condition": "service_completed_successfully"}
        assert {"mongodb", "nats", "queues"} <= set(needed)
        assert {it["condition"] for it in needed.values()} == {"service_healthy"}
    assert services["migrate"]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in ("mongodb", "nats")
    }
    assert "supply-chain" in services["sync"]["depends_on"]
    # The roles' and the SQS server's health checks are part of their images.
    assert {name for name, it in services.items() if "healthcheck" not in it} == {*ROLES, "sqs"}


def test_compose_keeps_the_data_of_every_server(compose: Json) -> None:
    keeping = {name for name, service in compose["services"].items() if "volumes" in service}
    assert keeping == set(compose["volumes"]) == {"mongodb", "nats", "sqs", "supply-chain"}


def test_the_containers_around_an_emulator_are_those_that_the_tests_run() -> None:
    path = ROOT / "localstack" / "docker-compose.yml"
    assert compose_schema_says(path) == ""
    services = yaml.safe_load(path.read_text())["services"]
    (pin,) = re.findall(
        r"^ministack==(\S+)", (ROOT / "requirements" / "ministack.txt").read_text(), re.MULTILINE
    )
    assert services["ministack"]["image"] == f"ministackorg/ministack:{pin}"
    in_overlay = {it.spec["image"] for it in render("development").containers()}
    ours = {services[name]["image"] for name in ("mongodb", "nats", "supply-chain")}
    assert ours <= in_overlay
    # The image has what the fake supply chain imports.
    stage = services["supply-chain"]["build"]["target"]
    assert re.search(rf" AS {stage}$", dockerfile(), re.MULTILINE)


def test_our_containers_are_hardened_in_compose(compose: Json) -> None:
    for name in (*ROLES, "migrate", "queues", "supply-chain"):
        service = compose["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name


# ---- Skaffold ----


class Strict(BaseModel):
    """A part of Skaffold's schema; what is not in it is refused.

    The packages that carry Skaffold's own schema stopped years before skaffold/v4beta12, so this is
    a model, written by hand, of the fields that we use; no more.
    """

    model_config = ConfigDict(extra="forbid")


class File(Strict):
    src: str
    dest: str
    strip: str = ""


class Command(Strict):
    command: list[str]


class ContainerHook(Strict):
    container: Command


class HostHook(Strict):
    host: Command


class SyncHooks(Strict):
    after: list[ContainerHook] = []


class DeployHooks(Strict):
    before: list[HostHook]


class Sync(Strict):
    manual: list[File]
    hooks: SyncHooks = SyncHooks()


class Docker(Strict):
    dockerfile: str
    target: str


class Artifact(Strict):
    image: str
    docker: Docker
    sync: Sync


class Local(Strict):
    push: bool


class Build(Strict):
    local: Local
    artifacts: list[Artifact]


class Kustomize(Strict):
    paths: list[Path]


class Manifests(Strict):
    kustomize: Kustomize


class Kubectl(Strict):
    hooks: DeployHooks


class Deploy(Strict):
    kubectl: Kubectl


class PortForward(Strict):
    resource_type: str = Field(alias="resourceType", pattern="^service$")
    resource_name: str = Field(alias="resourceName")
    namespace: str
    address: str
    port: int
    local_port: int = Field(alias="localPort")


class Skaffold(Strict):
    api_version: str = Field(alias="apiVersion", pattern=r"^skaffold/v4beta12$")
    kind: str = Field(pattern="^Config$")
    metadata: dict[str, str]
    build: Build
    manifests: Manifests
    deploy: Deploy
    port_forward: list[PortForward] = Field(alias="portForward")


@pytest.fixture(scope="module")
def skaffold() -> Skaffold:
    return Skaffold.model_validate(yaml.safe_load(SKAFFOLD.read_text()))


def test_a_skaffold_file_with_a_misspelt_key_is_noticed() -> None:
    with pytest.raises(ValidationError, match="artifact"):
        Skaffold.model_validate(
            yaml.safe_load(SKAFFOLD.read_text().replace("  artifacts:", "  artifact:"))
        )


def test_skaffold_builds_what_the_development_overlay_runs_of_ours(skaffold: Skaffold) -> None:
    ours = {it.spec["image"].partition(":")[0] for it in render("development").containers()}
    assert {it.image for it in skaffold.build.artifacts} == {
        name for name in ours if name.startswith("product-catalog")
    }


def test_skaffold_builds_stages_that_exist(skaffold: Skaffold) -> None:
    for artifact in skaffold.build.artifacts:
        stages = re.findall(
            r" AS (\w+)$", (ROOT / artifact.docker.dockerfile).read_text(), re.MULTILINE
        )
        assert artifact.docker.target in stages


def test_skaffold_deploys_an_overlay_that_exists(skaffold: Skaffold) -> None:
    assert skaffold.manifests.kustomize.paths == [Path("kubernetes/overlays/development")]
    assert (ROOT / skaffold.manifests.kustomize.paths[0] / "kustomization.yaml").exists()


def test_skaffold_deletes_the_job_that_it_could_not_change(skaffold: Skaffold) -> None:
    (hook,) = skaffold.deploy.kubectl.hooks.before
    metadata = render("development").migration().workload["metadata"]
    words = hook.host.command[2].split()
    assert words[words.index("delete") :] == [
        "delete",
        "job",
        metadata["name"],
        "--ignore-not-found",
    ]
    assert words[words.index("--namespace") + 1] == metadata["namespace"]


def test_skaffold_forwards_to_a_service_that_exists(skaffold: Skaffold) -> None:
    (forward,) = skaffold.port_forward
    service = render("development").get("Service", forward.resource_name)
    assert service["metadata"]["namespace"] == forward.namespace
    assert [port["port"] for port in service["spec"]["ports"]] == [forward.port]


def test_skaffold_syncs_every_python_file_of_the_catalog_to_where_it_is(
    skaffold: Skaffold,
) -> None:
    folders = [ROOT / "chalicelib", ROOT / "functions"]
    expected = {ROOT / "app.py", *(path for it in folders for path in it.rglob("*.py"))}
    for artifact in skaffold.build.artifacts:
        files = artifact.sync.manual
        assert {path for file in files for path in ROOT.glob(file.src)} == expected
        assert {file.dest for file in files} == {"/srv"}
    catalog, development = skaffold.build.artifacts
    assert catalog.sync.hooks.after[0].container.command == ["sh", "-c", "kill 1"]
    assert development.sync.hooks.after == []


def test_skaffold_can_write_where_it_syncs_to(skaffold: Skaffold) -> None:
    synced = {artifact.image for artifact in skaffold.build.artifacts}
    for container in render("development").containers():
        ends = container.spec["name"] == "code" or container.workload["kind"] == "Job"
        if container.spec["image"].partition(":")[0] in synced and not ends:
            mounts = {it["mountPath"] for it in container.spec["volumeMounts"]}
            assert "/srv" in mounts, f"{container}: only a volume is writable"


# ---- the image ----


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def froms() -> list[tuple[str, str]]:
    """Each image or stage that a stage starts from, and the name of that stage."""
    found = re.findall(r"^FROM (\S+) AS (\w+)$", dockerfile(), re.MULTILINE)
    assert len(found) == dockerfile().count("\nFROM ")
    return found


def test_every_stage_starts_from_the_base_image_or_from_an_earlier_stage() -> None:
    first, *others = froms()
    earlier = {first[1]}
    for origin, stage in others:
        assert origin in earlier, f"{stage} starts from {origin}"
        earlier.add(stage)


def test_the_base_image_is_pinned_by_tag_and_digest() -> None:
    # In FROM itself: Dependabot does not read what an ARG holds.
    image = froms()[0][0]
    assert re.fullmatch(r"python:3\.13\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", image)


def test_somebody_renews_the_base_image() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    (docker,) = [it for it in updates if it["package-ecosystem"] == "docker"]
    assert docker["directory"] == "/"


def test_the_image_takes_no_package_whose_hash_is_not_pinned() -> None:
    installs = re.findall(r"pip install .*|\$pip .*", dockerfile())
    assert "--require-hashes" in installs[0]
    assert all("--only-binary=:all:" in it for it in installs[1:])
    built = [it for it in installs if "--no-binary" in it]
    # By the setuptools that is pinned, not by one that pip would fetch for it.
    assert all("--no-build-isolation" in it for it in built)


def test_the_user_is_the_one_of_the_manifests() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", dockerfile(), re.MULTILINE)
    context = render("production").role("api").pod["securityContext"]
    assert set(users) == {(str(context["runAsUser"]), str(context["runAsGroup"]))}


def test_the_last_stage_is_the_catalog() -> None:
    assert re.findall(r" AS (\w+)$", dockerfile(), re.MULTILINE)[-1] == "catalog"


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = re.findall(r"^!(\S+?)/?$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = " ".join(re.findall(r"^COPY ([\w./ -]+) \S+$", dockerfile(), re.MULTILINE)).split()
    assert sorted(copied) == sorted(kept)


def test_the_health_check_runs_often_and_so_imports_little() -> None:
    tree = ast.parse(Path(alive.__file__).read_text())
    imports = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imports == {"__future__", "http.client", "sys", "time", "pathlib"}
