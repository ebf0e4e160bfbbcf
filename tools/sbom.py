"""The bills of materials: `python -m tools.sbom`.

Writes CycloneDX documents into `dist/sbom/`, of what is really there, not of what was asked for:

    api.cdx.json, functions.cdx.json    the packages in the zips that `make package` has made
    image.cdx.json                      the Python packages of the container image

Each has every package with its version, its licence, and what it depends on. The same packages give
the same bytes. The image's Debian is not in it: `docker buildx build --sbom=true` attaches that.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.markers import Marker

from tools.package import ROOT, PackageError, install, read_folder, read_pins

ARTIFACTS = ("api", "functions")
DESCRIPTION = re.compile(r"[^/]+\.dist-info/METADATA")
REMOVED = frozenset({"pip", "setuptools", "wheel"})
"""What the Dockerfile removes again."""
PYTHON = re.compile(r"python:(\d+\.\d+)")


class SbomError(Exception):
    """A bill cannot be written; the text says why."""


def descriptions(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Give the files that say which package, in which version, these belong to."""
    return {name: content for name, content in files.items() if DESCRIPTION.fullmatch(name)}


def zipped(path: Path) -> dict[str, bytes]:
    """Give the descriptions in a zip. Raises SbomError if there is none."""
    if not path.exists():
        raise SbomError(f"{path} is missing: make package")
    with zipfile.ZipFile(path) as archive:
        return descriptions({name: archive.read(name) for name in archive.namelist()})


def image_requirements(text: str, python: str) -> list[str]:
    """Give what of a requirements file the image keeps: on Linux, with this Python."""
    there = {
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    markers = dict(re.findall(r"^([\w.-]+)==\S+ ; (.*?)(?: \\)?$", text, re.MULTILINE))
    return [
        f"{name}=={pin}"
        for name, pin in read_pins(text).items()
        if name not in REMOVED
        and (name not in markers or Marker(markers[name]).evaluate(dict(there)))
    ]


def image(arch: str) -> dict[str, bytes]:
    """Give the descriptions of the image's packages."""
    (python,) = set(PYTHON.findall((ROOT / "Dockerfile").read_text()))
    text = (ROOT / "requirements" / "container.txt").read_text()
    cache = ROOT / "dist" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    site = install(image_requirements(text, python), arch, python, cache)
    return descriptions(read_folder(site))


def bill(described: Mapping[str, bytes], *, validated: bool = True) -> str:
    """Give the document of these packages, held to its schema, which takes seconds.

    Raises SbomError.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += [
        *([] if validated else ["--no-validate"]),
        "--pyproject",
        str(ROOT / "pyproject.toml"),
    ]
    with tempfile.TemporaryDirectory(prefix="sbom-") as folder:
        for name, content in described.items():
            path = Path(folder, name)
            path.parent.mkdir()
            path.write_bytes(content)
        done = subprocess.run(  # noqa: S603 - our own tools, no shell
            # With -S that Python sees no package but those here.
            [*command, "-S", sys.executable],
            env={**os.environ, "PYTHONPATH": folder},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise SbomError(done.stderr)
    return done.stdout


def main(argv: list[str] | None = None) -> int:
    """Run the command; give the exit code."""
    parser = argparse.ArgumentParser(description="Write the bills of materials.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args(argv)
    target: Path = arguments.dist / "sbom"
    try:
        found = {name: zipped(arguments.dist / f"{name}.zip") for name in ARTIFACTS}
        # Both architectures hold the same packages.
        found["image"] = image("x86_64")
        for name, described in found.items():
            target.mkdir(exist_ok=True)
            (target / f"{name}.cdx.json").write_text(bill(described))
            print(f"{target / name}.cdx.json: {len(described)} packages")
    except (SbomError, PackageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
