"""The image and the development overlay really run: `make test-kubernetes`.

Built by podman, started from the rendered manifests (commands, settings, volumes, security, probes
are read from them), with the embedded NATS, MongoDB-wire and SQS servers in place of those images.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import requests
import simplejson
from pymongo import MongoClient

from embedded import processes
from embedded.services import (
    Endpoints,
    Service,
    endpoints,
    local_session,
    server_service,
    sqs_client,
)
from embedded.stack import sign_token
from tests.kubernetes.cluster import ROLES, ROOT, Cluster, Container, render
from tests.kubernetes.pods import Pod, Podman, base_image, enter_own_network, missing
from tests.support import PRODUCT, Api, SupplyChainControl, eventually, exact_json
from tools import package, sbom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_sqs.literals import QueueAttributeNameType

    from tests.kubernetes.cluster import Json

# The first test waits for the images: a quarter of an hour on a busy machine.
pytestmark = pytest.mark.timeout(1800)

PATIENCE = 60.0
PORTS = {"api": 8000, "mongodb": 27017, "nats": 4222, "sqs": 4566, "supplyChain": 8900}
# Nobody waits 15 s for a second attempt here; everything else is as in the manifests.
SHORT = {"SYNC_HORIZON_SECONDS": "60", "SYNC_MAX_WAIT_SECONDS": "5", "RECONCILE_GRACE_SECONDS": "5"}


@dataclass
class Running:
    """The pods of the overlay, and the servers that stand for the others' images."""

    podman: Podman
    cluster: Cluster
    pods: dict[str, Pod] = field(default_factory=dict)
    servers: list[processes.Process] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    jobs: int = 0

    def __post_init__(self) -> None:
        self.supply_chain = SupplyChainControl("http://127.0.0.1:8900")
        self.sqs = sqs_client("http://127.0.0.1:4566")

    # ---- starting ----

    def serve(self) -> None:
        """Start the embedded servers, as far as they can with the manifests' own commands."""
        folder = self.podman.folder / "servers"
        where = endpoints({}, PORTS)
        for name in ("mongodb", "nats", "sqs"):
            service = self._as_manifested(name, folder, where)
            log = folder / f"{name}.log"
            self.servers.append(
                processes.spawn(service.command, service.environment, log, ROOT, "")
            )
            self._wait_for(service)

    @staticmethod
    def _wait_for(service: Service) -> None:
        ask = service.missing
        assert ask is not None
        eventually(lambda: not ask(), 30, "a server is ready")

    def _as_manifested(self, name: str, folder: Path, where: Endpoints) -> Service:
        service = server_service(name, PORTS[name], folder, os.environ, where)
        spec = self.cluster.get("StatefulSet", name)["spec"]["template"]["spec"]["containers"][0]
        data = str(folder / "data" / name)
        command, environment = service.command, dict(service.environment)
        if name == "nats":
            arguments = [text.replace("/data", data) for text in spec["command"][1:]]
            command = (service.command[0], *arguments)
        for variable in spec.get("env", []):
            environment[variable["name"]] = variable["value"].replace("/data", data)
        return Service(command, environment, service.missing)

    def start(self, workload: Json, *, number: int = 0, only: str = "") -> Pod:
        """Start a pod and wait until it is ready."""
        pod = Pod(self.podman, self.cluster, workload, number, only)
        self.pods[pod.name] = pod
        pod.start()
        self.seconds[pod.name] = pod.wait_until_ready()
        return pod

    def migrate(self) -> str:
        """Run the Job, as one that is made anew; what it has printed."""
        self.jobs += 1
        return Pod(self.podman, self.cluster, self.cluster.get("Job", "migrate"), self.jobs).run()

    def role(self, name: str) -> Pod:
        """The pod of a role."""
        return self.pods[f"{name}-0"]

    def log_in(self) -> None:
        """Sign a token with the secret of a pod, as the documentation says."""
        secret = self.role("api").execute("printenv", "CATALOG_JWT_SECRET").strip()
        self.api = Api("http://127.0.0.1:8000/api", sign_token(secret))

    def stop(self) -> None:
        """Stop the servers."""
        processes.stop_all(self.servers, 10)

    # ---- products ----

    def create(self, count: int = 1) -> list[Json]:
        """Write products; each must be acknowledged."""
        answers = [self.api.post("/products", PRODUCT) for _ in range(count)]
        assert {answer.status_code for answer in answers} == {201}, answers[0].text
        return [exact_json(answer) for answer in answers]

    def wait_until_delivered(self, products: list[Json]) -> None:
        """Wait until the supply chain holds these versions, and the catalog knows."""

        def missing() -> list[str]:
            held = self.supply_chain.products()
            return [
                it["id"]
                for it in products
                if held.get(it["id"], {}).get("version") != it["version"]
            ]

        eventually(lambda: not missing(), PATIENCE, "the supply chain holds all")
        eventually(
            lambda: {self._status(product) for product in products} == {"delivered"},
            PATIENCE,
            "the catalog knows",
        )

    def in_hand(self) -> int:
        """How many messages of the queue have been received, and neither deleted nor come back."""
        name: QueueAttributeNameType = "ApproximateNumberOfMessagesNotVisible"
        url = self.cluster.environment(self.cluster.role("sync"))["SYNC_QUEUE_URL"]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def _status(self, product: Json) -> str:
        return str(exact_json(self.api.get(f"/products/{product['id']}/sync"))["status"])


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A podman with the base image and both stages built, in a network of their own from now on."""
    if reason := missing():
        pytest.skip(reason)
    made = Podman(tmp_path_factory.mktemp("podman"))
    try:
        made.make_base()
        for target, name in (("catalog", ""), ("development", "-development")):
            made.build(target, f"product-catalog{name}:1.0.0")
        enter_own_network()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The development overlay, with shorter waits."""
    rendered = render("development")
    (settings,) = rendered.kind("ConfigMap")
    settings["data"] |= SHORT
    return rendered


@pytest.fixture(scope="session")
def running(podman: Podman, cluster: Cluster) -> Iterator[Running]:
    """The whole overlay, ready."""
    made = Running(podman, cluster)
    try:
        made.serve()
        made.start(cluster.get("StatefulSet", "sqs"), only="queues")
        made.migrate()
        for name in ("supply-chain", *ROLES):
            made.start(cluster.get("Deployment", name))
        made.log_in()
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True, scope="session")
def figures(podman: Podman, running: Running) -> None:
    """Print what was measured."""
    whole, base = (
        int(podman("image", "inspect", "--format={{.Size}}", name)) / 1e6
        for name in ("product-catalog:1.0.0", base_image())
    )
    print(f"\nimage {whole:.0f} MB, of which the stand-in for the base {base:.0f} MB")
    for role in ROLES:
        pod = running.role(role)
        print(f"{role:12}{running.seconds[pod.name]:5.1f} s to ready, {pod.memory():4.0f} MiB")


# ---- the image ----


def test_the_image_has_no_build_tools(running: Running) -> None:
    find = "import shutil; print([it for it in ('pip', 'pip3', 'gcc', 'make') if shutil.which(it)])"
    assert running.role("api").execute("python", "-c", find) == "[]"
    for name in ("pip", "setuptools", "wheel"):
        with pytest.raises(AssertionError, match=f"No module named '{name}"):
            running.role("api").execute("python", "-c", f"import {name}")


def test_the_image_has_the_packages_of_its_bill_of_materials(running: Running) -> None:
    text = (ROOT / "requirements" / "container.txt").read_text()
    listed = (line.split()[0] for line in sbom.image_requirements(text, "3.13"))
    find = (
        "from importlib import metadata as m\n"
        "print(*(f'{it.name}=={it.version}' for it in m.distributions()))"
    )
    found = running.role("api").execute("python", "-c", find).split()
    assert package.read_pins("\n".join(found)) == package.read_pins("\n".join(listed))


def test_a_role_can_write_nowhere_but_in_its_volumes(running: Running) -> None:
    mounted = {it["mountPath"] for it in running.cluster.role("sync").spec["volumeMounts"]}
    assert mounted == {"/tmp", "/srv"}  # noqa: S108 - a volume of its own
    for folder in ("/", "/usr", "/venv", "/var/tmp", "/home", "/run"):  # noqa: S108
        with pytest.raises(AssertionError, match=r"Read-only file system|Permission denied"):
            running.role("sync").execute("touch", f"{folder}/file")


def test_a_role_is_nobody_and_can_become_nobody_else(running: Running) -> None:
    status = running.role("sync").execute("cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == facts["Gid"].split() == ["10001"] * 4
    assert (facts["CapEff"], facts["CapBnd"], facts["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")


@pytest.mark.parametrize("role", ROLES)
def test_the_health_check_of_the_image_holds_for_every_role(running: Running, role: str) -> None:
    image = running.cluster.role(role).spec["image"]
    wanted = "--format={{json .HealthCheck.Test}}"
    kind, *command = simplejson.loads(running.podman("image", "inspect", wanted, image))
    assert kind == "CMD"
    running.role(role).execute(*command)


def test_a_role_without_its_settings_says_which_and_ends(running: Running) -> None:
    image = running.cluster.role("sync").spec["image"]
    code, text = running.podman.answer("run", "--rm", "--network=host", image, "sync")
    assert code == 2
    assert "settings: MONGODB_URI: is required" in text


# ---- the promise ----


@pytest.mark.parametrize("role", ROLES)
def test_a_role_serves_its_metrics_from_its_read_only_pod(running: Running, role: str) -> None:
    url = f"http://127.0.0.1:{running.role(role).metrics_port}/metrics"
    with local_session() as session:
        assert f'catalog_role{{role="{role}"}} 1.0' in session.get(url, timeout=10).text


def test_what_is_written_is_delivered_though_every_third_call_fails(running: Running) -> None:
    running.wait_until_delivered(running.create(30))
    summary = running.supply_chain.summary()
    assert summary["failed"] > 0
    assert (summary["stale"], summary["concurrent"]) == (0, 0)


@pytest.mark.parametrize("role", ["bridge", "sync", "reconcile"])
def test_a_stopped_pod_ends_in_order_and_loses_nothing(running: Running, role: str) -> None:
    before = running.create(5)
    assert running.role(role).stop() == [0]
    meanwhile = running.create(5)
    running.role(role).restart()
    running.role(role).wait_until_ready()
    running.wait_until_delivered(before + meanwhile)


def test_an_api_that_is_stopped_in_the_middle_delivers_all_that_it_acknowledged(
    running: Running,
) -> None:
    acknowledged: list[Json] = []

    def write() -> None:
        with contextlib.suppress(requests.ConnectionError):
            while True:
                acknowledged.extend(running.create())

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        eventually(lambda: len(acknowledged) >= 10, PATIENCE, "products are written")
        assert running.role("api").stop() == [0]
        for writer in writers:
            writer.result(PATIENCE)
    running.role("api").restart()
    running.role("api").wait_until_ready()
    running.wait_until_delivered(acknowledged)


def test_a_sync_pod_killed_in_the_middle_of_its_calls_loses_nothing(running: Running) -> None:
    eventually(lambda: running.in_hand() == 0, PATIENCE, "nothing is left from before")
    running.supply_chain.set(latencySeconds=1.5)
    products = running.create(10)
    eventually(lambda: running.in_hand() > 0, PATIENCE, "calls are under way")
    running.role("sync").kill()
    assert not set(running.supply_chain.products()).issuperset(it["id"] for it in products)
    running.supply_chain.set(latencySeconds=0)
    running.role("sync").restart()
    running.role("sync").wait_until_ready()
    running.wait_until_delivered(products)


def test_several_sync_pods_never_call_for_one_product_at_once(running: Running) -> None:
    workload = running.cluster.get("Deployment", "sync")
    for number in (1, 2):
        running.start(workload, number=number)
    running.wait_until_delivered(running.create(60))
    summary = running.supply_chain.summary()
    assert (summary["stale"], summary["concurrent"]) == (0, 0)
    assert [running.pods[f"sync-{number}"].stop() for number in (1, 2)] == [[0], [0]]


# ---- probes ----


def probe_of(container: Container, name: str) -> Json:
    return dict(container.probes())[name]


def test_a_hanging_loop_is_noticed_by_its_liveness_probe(running: Running) -> None:
    pod = running.role("reconcile")
    (container,) = pod.containers
    probe = probe_of(container, "livenessProbe")
    assert pod.holds(container, probe)

    def noticed() -> bool:
        # Its heart has stood still for ten minutes; the loop itself, which goes on, may beat again.
        old = "import os, time; os.utime('/tmp/heartbeat', (time.time() - 600,) * 2)"
        pod.execute("python", "-c", old)
        return not pod.holds(container, probe)

    eventually(noticed, PATIENCE)


def test_an_api_without_mongodb_is_alive_but_not_ready(running: Running) -> None:
    pod = running.role("api")
    (container,) = pod.containers
    processes.stop_all([running.servers[0]], 10)
    eventually(lambda: not pod.holds(container, probe_of(container, "readinessProbe")), PATIENCE)
    assert pod.holds(container, probe_of(container, "livenessProbe"))
    service = running._as_manifested(
        "mongodb", running.podman.folder / "servers", endpoints({}, PORTS)
    )
    log = running.podman.folder / "servers" / "mongodb.log"
    running.servers[0] = processes.spawn(service.command, service.environment, log, ROOT, "")
    eventually(lambda: pod.holds(container, probe_of(container, "readinessProbe")), PATIENCE)
    running.wait_until_delivered(running.create())


def test_an_api_waits_for_the_job_that_makes_the_indexes(running: Running) -> None:
    with MongoClient[dict[str, Any]]("mongodb://127.0.0.1:27017/?directConnection=true") as client:
        client["catalog"]["products"].drop_index("sku_sparse")
    pod = running.role("api")
    (container,) = pod.containers
    assert pod.stop() == [0]
    pod.restart()
    eventually(lambda: pod.holds(container, probe_of(container, "startupProbe")), PATIENCE)
    assert not pod.holds(container, probe_of(container, "readinessProbe"))
    assert "made the index sku" in running.migrate()
    pod.wait_until_ready()
    running.wait_until_delivered(running.create())
    assert running.migrate().startswith("0 changes")


def test_lost_queues_are_made_again(running: Running) -> None:
    for url in running.sqs.list_queues()["QueueUrls"]:
        running.sqs.delete_queue(QueueUrl=url)
    running.wait_until_delivered(running.create(3))


# ---- the inner loop ----


def test_a_python_file_is_replaced_as_skaffold_does_it(running: Running) -> None:
    """A tar stream into the running container, the hook, and the kubelet's new start."""
    pod = running.role("api")
    changed = (ROOT / "app.py").read_text().replace('"status": "ok"}', '"status": "changed"}')
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("srv/app.py")
        entry.size = len(changed.encode())
        tar.addfile(entry, io.BytesIO(changed.encode()))
    pod.execute("tar", "xmf", "-", "-C", "/", "--no-same-owner", data=archive.getvalue())
    pod.execute("sh", "-c", "kill 1")
    eventually(lambda: not pod.running(), PATIENCE, "it has ended")
    assert pod.exit_code(pod.containers[0]) == 0
    pod.restart()
    pod.wait_until_ready()
    assert exact_json(running.api.get("/health")) == {"status": "changed"}
