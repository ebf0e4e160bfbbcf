"""Pods without a cluster: podman runs what the rendered manifests say, on this machine alone.

No registry can be asked, so the base image is Debian's own Python under the official name. All
pods, and the embedded servers that stand for the images of others, share one network of their own
in which only 127.0.0.1 exists, so every port is exactly that of the manifests.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import fcntl
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import requests

from embedded.processes import free_port, poll
from embedded.services import local_session
from tests.kubernetes.cluster import ROOT, Cluster, Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.cluster import Json

TOOLS = ("podman", "runc", "debootstrap", "kubectl", "tar", "unshare")
# Of an official Python image, this is what the Dockerfile builds on.
PACKAGES = "python3,python3-venv,ca-certificates"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
# Podman itself may take this long to start a command in a container, on a busy machine.
OVERHEAD_SECONDS = 10
# A pod that is not ready is never killed for it: Kubernetes waits, for a Deployment ten minutes.
READY_SECONDS = 120
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def missing() -> str:
    """Say what keeps this machine from running pods, nothing if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "running the pods needs root on Linux"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"running the pods needs {', '.join(absent)}: apt-get install {' '.join(absent)}"
    apart = [str(shutil.which("unshare")), "--net", "true"]
    allowed = subprocess.run(apart, capture_output=True, check=False).returncode == 0
    return "" if allowed else "running the pods needs network namespaces"


def enter_own_network() -> None:
    """Move this process, and what it starts from now on, into a network with nothing but `lo`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack("16xh22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


@dataclass
class Podman:
    """A podman whose images and containers are all under `folder`."""

    folder: Path

    def __post_init__(self) -> None:
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = int(Path("/proc/sys/kernel/pid_max").read_text())
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        nproc = most if processes == resource.RLIM_INFINITY else min(processes, most)
        # Podman's own defaults are more than a machine in a machine may allow.
        limits = f'"nofile={files}:{files}", "nproc={nproc}:{nproc}"'
        self.config = self.folder / "containers.conf"
        self.config.write_text(
            f'[containers]\ndefault_ulimits = [{limits}]\n[engine]\nevents_logger = "file"\n'
        )

    def __call__(
        self,
        *arguments: str,
        check: bool = True,
        data: bytes | None = None,
        stdin: IO[bytes] | None = None,
    ) -> str:
        """Run a command of podman; what it prints. Raises AssertionError if it fails."""
        code, text = self.answer(*arguments, data=data, stdin=stdin)
        assert not check or code == 0, f"{text[-3000:]}\npodman {' '.join(arguments)}"
        return text

    def answer(
        self,
        *arguments: str,
        data: bytes | None = None,
        stdin: IO[bytes] | None = None,
        timeout: float | None = None,
    ) -> tuple[int, str]:
        """Run a command of podman; its exit code and what it prints."""
        command = ["podman", f"--root={self.folder}/store", f"--runroot={self.folder}/run"]
        command += ["--runtime=runc", "--cgroup-manager=cgroupfs", *arguments]
        done = subprocess.run(
            command,
            env={**os.environ, "CONTAINERS_CONF": str(self.config)},
            input=data,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace").strip()

    def remove(self) -> None:
        """Remove every container and image."""
        self("rm", "--all", "--force", "--time", "0", check=False)
        self("umount", "--all", check=False)
        umount = ["/bin/umount", f"{self.folder}/store/overlay"]
        subprocess.run(umount, capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- images ----

    def make_base(self) -> None:
        """Import Debian's Python under the name of the official image."""
        name = base_image()
        # The same Debian as in the official image, and so a Python near to it.
        suite = name.rpartition("-")[2]
        system = self.folder / "base"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite]
        answer = subprocess.run([*command, system], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr
        archive = ["tar", "-C", str(system), "--exclude=./var/cache/apt/archives/*.deb", "-c", "."]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as packing:
            self("import", "--change", f"ENV PATH={PATH}", "-", name, stdin=packing.stdout)
        shutil.rmtree(system)

    def build(self, target: str, tag: str) -> None:
        """Build a stage of the Dockerfile as the way to the packages of this machine allows."""
        config = self.folder / "pip.conf"
        options, certificates = pip_options()
        config.write_text("[global]\n" + "".join(f"{k} = {v}\n" for k, v in options.items()))
        volumes = [f"--volume={config}:/etc/pip.conf:ro"]
        volumes += [f"--volume={path}:{path}:ro" for path in certificates]
        # Without an init system there is no isolation of builds but this.
        how = ("--isolation=chroot", "--format=docker", "--network=host", *volumes)
        # In place of the image of the first FROM, the only one that is not a stage.
        base = f"--from={base_image()}"
        self("build", *how, base, f"--target={target}", f"--tag={tag}", str(ROOT))


def base_image() -> str:
    """Give the image that the Dockerfile builds on, without its digest: that is Docker's own."""
    image = (ROOT / "Dockerfile").read_text().partition("\nFROM ")[2].split()[0]
    return f"docker.io/library/{image.partition('@')[0]}"


def pip_options() -> tuple[dict[str, str], list[str]]:
    """How pip reaches its index from here, and the files of that: for the pip of a build."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options: dict[str, str] = {}
    for name, value in re.findall(r"^[^.\n]+\.([\w-]+)=('.*')$", listed, re.MULTILINE):
        if name in {"index-url", "cert", "proxy", "trusted-host"}:
            options[name] = str(ast.literal_eval(value))
    return options, [options["cert"]] if "cert" in options else []


# ---- pods ----


def quantity(text: str) -> int:
    """Read an amount of memory."""
    return int(text[:-2]) * UNITS[text[-2:]]


@dataclass
class Pod:
    """A pod of a workload: its containers in podman, its volumes as folders."""

    podman: Podman
    cluster: Cluster
    workload: Json
    number: int = 0
    only: str = ""
    metrics_port: int = field(default_factory=free_port)
    started: float = 0.0
    folders: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the workload, and a number for each pod of it."""
        return f"{self.workload['metadata']['name']}-{self.number}"

    @property
    def spec(self) -> Json:
        """The spec of the pod."""
        spec: Json = self.workload["spec"]["template"]["spec"]
        return spec

    @property
    def containers(self) -> list[Container]:
        """Its containers, without those that run first."""
        found = [Container(self.workload, it) for it in self.spec["containers"]]
        return [it for it in found if self.only in ("", it.spec["name"])]

    def called(self, container: Container) -> str:
        """The name of a container in podman."""
        return f"{self.name}-{container.spec['name']}"

    # ---- life ----

    def start(self) -> None:
        """Make the volumes, run what runs first to its end, start the rest."""
        self.started = time.monotonic()
        self._make_volumes()
        for spec in self.spec.get("initContainers", []):
            self.podman("run", "--rm", *self._options(Container(self.workload, spec)))
        for container in self.containers:
            name = f"--name={self.called(container)}"
            self.podman("run", "--detach", name, *self._options(container))

    def run(self) -> str:
        """Run the pod of a Job to its end, which must be a good one; what it has printed."""
        self._make_volumes()
        (container,) = self.containers
        return self.podman("run", "--rm", *self._options(container))

    def wait_until_ready(self) -> float:
        """Probe as the kubelet does; how many seconds it took from the start."""
        for container in self.containers:
            probes = dict(container.probes())
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                if name in probes:
                    self._wait_for(container, name, probes[name])
        return time.monotonic() - self.started

    def stop(self) -> list[int]:
        """SIGTERM, and SIGKILL when the time of grace is over; the exit codes."""
        grace = str(self.spec["terminationGracePeriodSeconds"])
        names = [self.called(container) for container in self.containers]
        self.podman("stop", "--time", grace, *names)
        return [self.exit_code(container) for container in self.containers]

    def kill(self) -> None:
        """SIGKILL, without a warning."""
        self.podman("kill", *(self.called(container) for container in self.containers))

    def restart(self) -> None:
        """Start the containers again in the same pod, as the kubelet does when they have ended."""
        self.started = time.monotonic()
        self.podman("start", *(self.called(container) for container in self.containers))

    # ---- questions ----

    def exit_code(self, container: Container) -> int:
        """With what a container has ended."""
        called = self.called(container)
        return int(self.podman("inspect", "--format={{.State.ExitCode}}", called))

    def running(self) -> bool:
        """Whether all of its containers run."""
        return all(
            self.podman("inspect", "--format={{.State.Running}}", self.called(it)) == "true"
            for it in self.containers
        )

    def execute(self, *command: str, data: bytes | None = None) -> str:
        """Run a command in the first container, with this as its input."""
        called = self.called(self.containers[0])
        return self.podman("exec", "--interactive", called, *command, data=data)

    def logs(self) -> str:
        """What it has printed."""
        names = [self.called(container) for container in self.containers]
        return "\n".join(self.podman("logs", name, check=False) for name in names)

    def memory(self) -> float:
        """MiB that its processes hold, what they share counted once."""
        called = self.called(self.containers[0])
        first = int(self.podman("inspect", "--format={{.State.Pid}}", called))
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in _family(first)]
        return sum(int(re.findall(r"^Pss:\s+(\d+)", it, re.MULTILINE)[0]) for it in texts) / 1024

    def holds(self, container: Container, probe: Json) -> bool:
        """Ask once what a probe asks."""
        seconds = probe.get("timeoutSeconds", 1)
        if "exec" in probe:
            command = ("exec", self.called(container), *probe["exec"]["command"])
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.podman.answer(*command, timeout=seconds + OVERHEAD_SECONDS)[0] == 0
            return False
        action = probe["httpGet"]
        url = f"http://127.0.0.1:{container.port(action['port'])}{action['path']}"
        try:
            with local_session() as session:
                return session.get(url, timeout=seconds).status_code < 400
        except requests.RequestException:
            return False

    # ---- how ----

    def _wait_for(self, container: Container, name: str, probe: Json) -> None:
        patience = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        if name == "readinessProbe":
            patience = max(patience, READY_SECONDS)
        held = poll(lambda: self.holds(container, probe), patience)
        assert held, f"{self.called(container)}: {name} fails\n{self.logs()[-3000:]}"

    def _make_volumes(self) -> None:
        for volume in self.spec.get("volumes", []):
            folder = self.podman.folder / "volumes" / self.name / volume["name"]
            folder.mkdir(parents=True)
            # As the kubelet does: root's, open to the group of the pod.
            os.chown(folder, 0, self.spec["securityContext"]["fsGroup"])
            folder.chmod(0o2775)
            self.folders[volume["name"]] = folder

    def _options(self, container: Container) -> list[str]:
        """The options of podman that say what the manifest says."""
        spec, user = container.spec, self.spec["securityContext"]
        options = [f"--user={user['runAsUser']}:{user['runAsGroup']}"]
        # There is one network for all, so no port is published; the rest is podman's own.
        options += ["--network=host", "--pull=never", "--no-healthcheck", *_security(spec)]
        options += [f"--memory={quantity(spec['resources']['limits']['memory'])}b"]
        hosts = [item["metadata"]["name"] for item in self.cluster.kind("Service")]
        options += [f"--add-host={name}:127.0.0.1" for name in hosts]
        environment = self.cluster.environment(container)
        if "METRICS_PORT" in environment:
            # Which the pods of a cluster may have all alike.
            environment["METRICS_PORT"] = str(self.metrics_port)
        options += [f"--env={name}={value}" for name, value in environment.items()]
        mounts = spec.get("volumeMounts", [])
        options += [f"--volume={self.folders[it['name']]}:{it['mountPath']}" for it in mounts]
        command: list[str] = spec.get("command", [])
        options += [f"--entrypoint={name}" for name in command[:1]]
        return [*options, spec["image"], *command[1:], *spec.get("args", [])]


def _security(spec: Json) -> Iterator[str]:
    given = spec["securityContext"]
    for name in given["capabilities"]["drop"]:
        yield f"--cap-drop={name.lower()}"
    if given["allowPrivilegeEscalation"] is False:
        yield "--security-opt=no-new-privileges"
    if given["readOnlyRootFilesystem"]:
        # Podman would make /tmp and others writable all the same.
        yield "--read-only"
        yield "--read-only-tmpfs=false"


def _family(first: int) -> list[int]:
    """A process, its children, and theirs."""
    family = [first]
    for pid in family:
        for task in Path(f"/proc/{pid}/task").iterdir():
            family += [int(text) for text in (task / "children").read_text().split()]
    return family
