"""The Lambda artifacts: `python -m tools.package --arch arm64|x86_64 --python 3.13`.

Writes into `dist/`:

    api.zip         the Chalice app and its authorizer, as `chalice package` zips them
    functions.zip   the handlers of bridge, sync, reconcile and migrate
    routes.json     every route of the app, for API Gateway: Terraform lists none itself
    manifest.json   architecture, runtime (python3.13), and size and SHA-256 of the zips

The same input gives the same bytes: entries sorted, one timestamp, nothing compiled. Dependencies
are the pins of requirements.txt, as wheels for Lambda's Linux, whatever this machine is; a file
whose hash is not pinned is refused. Packages of Lambda's runtime and Chalice's command line tools
are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Wheels that run on the oldest system below these, Amazon Linux 2 with glibc 2.26 (Python 3.11).
PLATFORMS = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
}
MACHINES = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64", "AMD64": "x86_64"}

ROOTS = (
    "aws-xray-sdk",
    "certifi",
    "nats-py[nkeys]",
    "pydantic",
    "pyjwt",
    "pymongo",
    "simplejson",
    "standardwebhooks",
    "urllib3",
)
"""What the code imports. Chalice is missing: its packager puts its two runtime modules in."""
# Only the docs page needs Swagger UI, which Powertools contains. Only the authorizer checks
# signatures; to the others it is 14 MB and a sixth of a second.
API_ROOTS = (*ROOTS, "aws-lambda-powertools", "pyjwt[crypto]")
SOURCE_ONLY = ("nkeys",)
"""Pure Python that PyPI has no wheel of."""
RUNTIME = frozenset({"boto3", "botocore", "s3transfer", "python-dateutil", "six"})
"""Packages of Lambda's Python runtime, which are left out."""
RUNTIME_MODULES = ("boto3", "botocore", "s3transfer", "dateutil", "six.py")

HANDLERS = {
    "api": ("api", "app", "app"),
    "authorizer": ("api", "app", "authorize"),
    "bridge": ("functions", "functions.bridge", "handler"),
    "sync": ("functions", "functions.sync", "handler"),
    "reconcile": ("functions", "functions.reconcile", "handler"),
    "migrate": ("functions", "functions.migrate", "handler"),
}
"""Lambda → (zip, module, attribute)."""
# The container host's part of the code: never on Lambda.
HOST_ONLY = frozenset(
    {
        "functions/alive.py",
        "functions/exporter.py",
        "functions/run.py",
        "functions/server.py",
        "chalicelib/http/wsgi.py",
    }
)

UNWANTED_FOLDERS = frozenset({"__pycache__", "bin", "test", "tests", "testing"})
UNWANTED_ENDINGS = (".pyc", ".pyi", ".pxd", ".pyx", ".c", ".h", "py.typed")
UNWANTED_METADATA = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL", "top_level.txt"}
)
IMPORTS = 3
"""How often a cold import is measured; the median counts."""


class PackageError(Exception):
    """The artifacts cannot be built; the text says why."""


# ---- dependencies ----


def read_pins(text: str) -> dict[str, str]:
    """Give name → version, and the hashes of its files, from the text of a requirements file."""
    pins: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        hashes = re.findall(r"--hash=\S+", line)
        pinned = re.match(r"([\w.-]+)==([^\s;#]+)", line)
        if pinned is not None:
            pins[canonicalize_name(pinned[1])] = " ".join([pinned[2], *hashes])
    return pins


def wanted(roots: Iterable[str], pins: Mapping[str, str], python: str) -> list[str]:
    """Give lines with what these need there, pinned, those of the runtime left out, sorted.

    What each package needs is read from the installed ones. Raises PackageError for a package
    that has no pin.
    """
    found: set[str] = set()
    pending = [Requirement(root) for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        item = pending.pop()
        name, extras = canonicalize_name(item.name), frozenset(item.extras)
        if name in RUNTIME or (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in pins:
            raise PackageError(f"{name} has no pin in requirements.txt")
        found.add(name)
        pending += _needed_by(name, extras, python)
    return [f"{name}=={pins[name]}" for name in sorted(found)]


def _needed_by(name: str, extras: frozenset[str], python: str) -> Iterator[Requirement]:
    # Lambda's Linux and its Python, whatever this machine runs.
    there = {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        places = [{**there, "extra": extra} for extra in ("", *sorted(extras))]
        if marker is None or any(marker.evaluate(place) for place in places):
            yield requirement


def install(requirements: list[str], arch: str, python: str, cache: Path) -> Path:
    """Unpack the wheels for Lambda into a folder of the cache; at once if they are there.

    Raises PackageError for a file that is not one of the pinned hashes.
    """
    key = hashlib.sha256("\n".join([arch, python, *requirements]).encode()).hexdigest()[:16]
    site = cache / f"site-{arch}-{python}-{key}"
    if site.exists():
        return site
    draft = Path(tempfile.mkdtemp(prefix="site-", dir=cache))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-compile", "--only-binary=:all:", "--target", str(draft)]
    command += [f"--no-binary={name}" for name in SOURCE_ONLY]
    command += ["--python-version", python, "--implementation", "cp"]
    command += [f"--platform={name}" for name in PLATFORMS[arch]]
    with tempfile.NamedTemporaryFile("w", prefix="requirements-", suffix=".txt") as listed:
        listed.write("\n".join(requirements))
        listed.flush()
        _run([*command, "--require-hashes", "--requirement", listed.name], ROOT)
    draft.rename(site)
    return site


# ---- zips ----


def belongs(name: str) -> bool:
    """Tell whether a file, by its path inside a zip, is needed on Lambda."""
    *folders, file = name.split("/")
    if name in HOST_ONLY or UNWANTED_FOLDERS & set(folders) or file.endswith(UNWANTED_ENDINGS):
        return False
    described = folders and folders[0].endswith(".dist-info")
    return not (described and file in UNWANTED_METADATA)


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip whose bytes depend on names and contents alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(filter(belongs, files)):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, so that the mode below is read
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])


def read_folder(folder: Path, prefix: str = "") -> dict[str, bytes]:
    """Give path → content of every file below a folder."""
    return {
        prefix + path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def chalice_files(site: Path, work: Path) -> dict[str, bytes]:
    """Let Chalice package the app; give what is in its zip."""
    project = work / "project"
    project.mkdir()
    shutil.copy(ROOT / "app.py", project)
    for folder in ("chalicelib", ".chalice"):
        ignored = shutil.ignore_patterns("__pycache__", "deployments", "deployed")
        shutil.copytree(ROOT / folder, project / folder, ignore=ignored)
    # As `vendor`, since Chalice's downloads know neither our pins nor the runtime's packages.
    (project / "vendor").symlink_to(site)
    (project / "requirements.txt").touch()
    start = "import sys; from chalice.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "package", "--stage", "api", "out"]
    _run(command, project, PYTHONDONTWRITEBYTECODE="1", AWS_DEFAULT_REGION="us-east-1")
    with zipfile.ZipFile(project / "out" / "deployment.zip") as archive:
        files = {item: archive.read(item) for item in archive.namelist() if not item.endswith("/")}
    # Its packager leaves out what says that Chalice is there; scanners and bills of materials ask.
    described = metadata.distribution("chalice")
    path = f"chalice-{described.version}.dist-info/METADATA"
    return {**files, path: (described.read_text("METADATA") or "").encode()}


def function_files(site: Path) -> dict[str, bytes]:
    """Give the content of functions.zip."""
    ours = (read_folder(ROOT / name, f"{name}/") for name in ("chalicelib", "functions"))
    return read_folder(site) | {name: content for part in ours for name, content in part.items()}


# ---- what Terraform reads ----


def routes() -> list[dict[str, Any]]:
    """Give every route of the Chalice app: method, path, and whether a token is asked for."""
    from app import app  # noqa: PLC0415 - the app, only where it is asked

    return [
        {"method": method, "path": path, "authorized": entry.authorizer is not None}
        for path, methods in sorted(app.routes.items())
        for method, entry in sorted(methods.items())
    ]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


# ---- measuring ----


def running_python() -> str:
    """Give the version that runs this, as "3.13"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreter(python: str) -> str | None:
    """Give the program of a Python of this version, None if this machine has none."""
    if python == running_python():
        return sys.executable
    search = [str(ROOT / "tools" / "find-python"), python]
    found = subprocess.run(search, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or None


def cold_import(program: str, folder: Path, runtime: Path, module: str, attribute: str) -> float:
    """Import a handler in a fresh interpreter that sees nothing but the zip; seconds, median."""
    code = (
        "import sys, time; sys.path[:0] = [sys.argv[1]]; sys.path.append(sys.argv[2]);"
        "began = time.perf_counter();"
        "import importlib; getattr(importlib.import_module(sys.argv[3]), sys.argv[4]);"
        "print(time.perf_counter() - began)"
    )
    # As on Lambda, whose code folder is read-only: nothing compiled is kept or found.
    command = [program, "-I", "-S", "-B", "-c", code]
    command += [str(folder), str(runtime), module, attribute]
    return statistics.median(float(_run(command, folder)) for _ in range(IMPORTS))


def measure(program: str, dist: Path, work: Path) -> dict[str, float]:
    """Give the cold import time of each handler. Raises PackageError if one cannot be imported."""
    runtime = work / "runtime"
    runtime.mkdir()
    botocore = metadata.distribution("botocore").locate_file("")
    for name in RUNTIME_MODULES:
        (runtime / name).symlink_to(Path(str(botocore)) / name)
    for name in ("api", "functions"):
        with zipfile.ZipFile(dist / f"{name}.zip") as archive:
            archive.extractall(work / name)
    return {
        name: cold_import(program, work / archive, runtime, module, attribute)
        for name, (archive, module, attribute) in HANDLERS.items()
    }


def _run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own tools, no shell
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PackageError(f"{' '.join(command[:6])} ... failed:\n{done.stdout}{done.stderr}")
    return done.stdout


# ---- the command ----


def package(arch: str, python: str, dist: Path, *, measured: bool = True) -> None:
    """Build all artifacts, and print their sizes and import times."""
    cache = ROOT / "dist" / "cache"
    for folder in (cache, dist):
        folder.mkdir(parents=True, exist_ok=True)
    pins = read_pins((ROOT / "requirements.txt").read_text())
    needed = (wanted(roots, pins, python) for roots in (API_ROOTS, ROOTS))
    api_site, site = (install(requirements, arch, python, cache) for requirements in needed)
    with tempfile.TemporaryDirectory(prefix="package-") as name:
        work = Path(name)
        write_zip(dist / "api.zip", chalice_files(api_site, work))
        write_zip(dist / "functions.zip", function_files(site))
        zips = {path.name: _describe(path) for path in sorted(dist.glob("*.zip"))}
        _write_json(dist / "routes.json", routes())
        manifest = {"architecture": arch, "runtime": f"python{python}", "zips": zips}
        _write_json(dist / "manifest.json", manifest)
        _print_zips(zips)
        if measured:
            _print_cold_imports(arch, python, dist, work)


def _print_zips(zips: Mapping[str, Mapping[str, Any]]) -> None:
    for title, facts in zips.items():
        print(
            f"{title:16}{facts['bytes'] / 1e6:6.2f} MB, unpacked "
            f"{facts['unpacked'] / 1e6:6.2f} MB  sha256 {facts['sha256']}"
        )


def _print_cold_imports(arch: str, python: str, dist: Path, work: Path) -> None:
    if MACHINES.get(platform.machine()) != arch or sys.platform != "linux":
        print(f"cold imports: not measured, this machine cannot run {arch} for Linux")
    elif (program := interpreter(python)) is None:
        print(f"cold imports: not measured, Python {python} is not on this machine")
    else:
        for handler, seconds in measure(program, dist, work).items():
            print(f"{handler:16}{seconds * 1000:6.0f} ms cold import")


def _describe(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(item.file_size for item in archive.infolist())
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"bytes": len(content), "unpacked": unpacked, "sha256": digest}


def main(argv: list[str] | None = None) -> int:
    """Run the command; give the exit code."""
    parser = argparse.ArgumentParser(description="Make the Lambda artifacts.")
    parser.add_argument("--arch", choices=sorted(PLATFORMS), default="arm64")
    parser.add_argument(
        "--python",
        choices=PYTHONS,
        default=running_python(),
        help="which Python of Lambda's (default: the running one, %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--no-measuring", action="store_true", help="no cold import times")
    arguments = parser.parse_args(argv)
    try:
        package(
            arguments.arch,
            arguments.python,
            arguments.output.resolve(),
            measured=not arguments.no_measuring,
        )
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
