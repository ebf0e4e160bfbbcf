"""What the bills of materials are made of."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tools import package, sbom

ROOT = Path(__file__).parents[3]


def test_a_package_is_what_has_a_description_at_the_top() -> None:
    files = {
        "a-1.dist-info/METADATA": b"a",
        "a-1.dist-info/entry_points.txt": b"",
        "a/_vendor/b-2.dist-info/METADATA": b"b",
        "METADATA": b"",
    }
    assert sbom.descriptions(files) == {"a-1.dist-info/METADATA": b"a"}


def test_the_packages_of_a_zip_are_read_from_it(tmp_path: Path) -> None:
    path = tmp_path / "api.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("app.py", "")
        archive.writestr("a-1.dist-info/METADATA", "a")
    assert sbom.zipped(path) == {"a-1.dist-info/METADATA": b"a"}


def test_without_the_artifacts_there_is_no_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sbom.main(["--dist", str(tmp_path)]) == 1
    assert "api.zip is missing: make package" in capsys.readouterr().err
    assert not (tmp_path / "sbom").exists()


def test_the_image_keeps_what_linux_needs_and_nothing_that_builds() -> None:
    text = (ROOT / "requirements" / "container.txt").read_text()
    names = {line.partition("==")[0] for line in sbom.image_requirements(text, "3.13")}
    left_out = {"ansicon", "jinxed", "pip", "setuptools", "wheel"}
    assert names >= {"chalice", "gunicorn", "nkeys", "prometheus-client", "pymongo"}
    assert package.read_pins(text).keys() - names <= left_out
    assert not names & {"ansicon", "pip", "setuptools", "wheel"}


def test_a_package_for_another_python_is_not_in_the_image() -> None:
    text = (
        "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
        "b==2 ; sys_platform == 'linux'\nc==3\n"
    )
    assert sbom.image_requirements(text, "3.13") == ["b==2", "c==3"]
    assert sbom.image_requirements(text, "3.11") == ["a==1 --hash=sha256:0", "b==2", "c==3"]
