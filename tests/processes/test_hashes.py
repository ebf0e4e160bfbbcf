"""What is packed are the files whose hashes the requirements pin."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest

from tools import package

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the only wheel that pip can find; give its hash."""
    wheel = tmp_path / "made_up-1.0-py3-none-any.whl"
    described = "made_up-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("made_up.py", "")
        archive.writestr(f"{described}/METADATA", "Name: made-up\nVersion: 1.0\n")
        archive.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{described}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_file_with_the_pinned_hash_is_packed(digest: str, tmp_path: Path) -> None:
    pin = f"made-up==1.0 --hash=sha256:{digest}"
    site = package.install([pin], "arm64", "3.13", tmp_path)
    assert (site / "made_up.py").exists()


@pytest.mark.usefixtures("digest")
def test_another_file_of_the_same_name_and_version_is_refused(tmp_path: Path) -> None:
    pin = f"made-up==1.0 --hash=sha256:{'0' * 64}"
    with pytest.raises(package.PackageError, match="DO NOT MATCH"):
        package.install([pin], "arm64", "3.13", tmp_path)


@pytest.mark.usefixtures("digest")
def test_a_pin_without_a_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(package.PackageError, match="hash"):
        package.install(["made-up==1.0"], "arm64", "3.13", tmp_path)
