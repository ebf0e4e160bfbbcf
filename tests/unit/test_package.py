"""What goes into the Lambda artifacts, and that the same input gives the same bytes."""

from __future__ import annotations

import json
import platform
import zipfile
from pathlib import Path

import pytest

from chalicelib.http import contract
from tools import package
from tools.deployment import RELEASED

ROOT = Path(__file__).parents[2]
PYTHON = "3.13"


@pytest.fixture
def pins() -> dict[str, str]:
    return package.read_pins((ROOT / "requirements.txt").read_text())


def test_pins_are_read_without_their_comments_and_markers() -> None:
    text = "# a comment\nPyMongo==4.1  # via us\n    # via nobody\nsix==1.0 ; os_name == 'nt'\n"
    assert package.read_pins(text) == {"pymongo": "4.1", "six": "1.0"}


def test_pins_are_read_with_the_hashes_of_their_files() -> None:
    text = "a==1 ; os_name == 'nt' \\\n    --hash=sha256:0a \\\n    --hash=sha256:0b\n    # via b\n"
    assert package.read_pins(text) == {"a": "1 --hash=sha256:0a --hash=sha256:0b"}


def test_every_requirement_of_every_file_has_a_hash() -> None:
    files = [*ROOT.glob("requirements*.txt"), *ROOT.glob("requirements/*.txt")]
    assert len(files) == 8
    for path in files:
        pins = package.read_pins(path.read_text())
        assert pins
        assert [name for name, pin in pins.items() if "--hash=sha256:" not in pin] == [], path


@pytest.mark.parametrize("roots", [package.ROOTS, package.API_ROOTS], ids=["functions", "api"])
def test_neither_the_runtime_nor_chalices_tools_are_packed(
    roots: tuple[str, ...], pins: dict[str, str]
) -> None:
    names = {line.split("==")[0] for line in package.wanted(roots, pins, PYTHON)}
    assert names >= {"pymongo", "pydantic", "nats-py", "urllib3", "certifi"}
    assert not names & {
        "boto3",
        "botocore",
        "chalice",
        "pip",
        "click",
        "inquirer",
        "setuptools",
        "typer",
    }


def test_only_the_api_carries_powertools(pins: dict[str, str]) -> None:
    assert not any("powertools" in line for line in package.wanted(package.ROOTS, pins, PYTHON))
    assert any("powertools" in line for line in package.wanted(package.API_ROOTS, pins, PYTHON))


def test_only_the_api_carries_cryptography(pins: dict[str, str]) -> None:
    assert not any("cryptography" in line for line in package.wanted(package.ROOTS, pins, PYTHON))
    assert any("cryptography" in line for line in package.wanted(package.API_ROOTS, pins, PYTHON))


def test_a_dependency_without_a_pin_is_an_error(pins: dict[str, str]) -> None:
    del pins["urllib3"]
    with pytest.raises(package.PackageError, match="urllib3 has no pin"):
        package.wanted(package.ROOTS, pins, PYTHON)


def test_what_is_packed_is_what_lambdas_python_needs_not_the_running_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = {"a": ["b; python_version < '3.12'", "c; python_full_version >= '3.12'"]}
    monkeypatch.setattr("importlib.metadata.requires", needs.get)
    pins = {"a": "1", "b": "2", "c": "3"}
    assert package.wanted(["a"], pins, "3.11") == ["a==1", "b==2"]
    assert package.wanted(["a"], pins, "3.12") == ["a==1", "c==3"]


def fake_package(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Leave out what takes long; give the list of the Pythons that wheels are asked for."""
    asked: list[str] = []

    def install(_requirements: list[str], _arch: str, python: str, cache: Path) -> Path:
        asked.append(python)
        return cache

    monkeypatch.setattr(package, "install", install)
    monkeypatch.setattr(package, "chalice_files", lambda *_: {"app.py": b""})
    monkeypatch.setattr(package, "function_files", lambda *_: {"functions/sync.py": b""})
    return asked


@pytest.mark.parametrize("arguments", [[], ["--python", "3.12"]], ids=["default", "asked for"])
def test_wheels_and_manifest_are_of_the_same_python(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_package(monkeypatch)
    assert package.main([*arguments, "--no-measuring", f"--output={tmp_path}"]) == 0
    python = arguments[-1] if arguments else package.running_python()
    assert asked == [python, python]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["runtime"] == f"python{python}"


def test_a_python_that_lambda_does_not_have_is_refused() -> None:
    with pytest.raises(SystemExit):
        package.main(["--python", "3.10"])


def test_cold_imports_are_never_measured_with_another_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_package(monkeypatch)
    monkeypatch.setattr(package, "interpreter", {}.get)
    monkeypatch.setattr("sys.platform", "linux")
    arch = package.MACHINES[platform.machine()]
    assert package.main(["--arch", arch, "--python", "3.14", f"--output={tmp_path}"]) == 0
    assert "not measured, Python 3.14 is not on this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("app.py", True),
        ("chalicelib/usecases/sync.py", True),
        ("pydantic/_internal/_core.py", True),
        ("pydantic-1.dist-info/METADATA", True),
        ("pydantic-1.dist-info/RECORD", False),
        ("chalicelib/usecases/__pycache__/sync.cpython-311.pyc", False),
        ("simplejson/tests/test_for_json.py", False),
        ("pymongo/_cmessage.pyi", False),
        ("functions/sync.py", True),
        ("functions/run.py", False),
        ("functions/exporter.py", False),
        ("chalicelib/http/wsgi.py", False),
    ],
)
def test_what_belongs_on_lambda(name: str, wanted: bool) -> None:
    assert package.belongs(name) is wanted


def test_the_same_files_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    files = {"b.py": b"2", "a/c.py": b"3", "a.py": b"1"}
    package.write_zip(tmp_path / "one.zip", files)
    package.write_zip(tmp_path / "two.zip", dict(reversed(files.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["a.py", "a/c.py", "b.py"]


def test_the_routes_are_those_of_the_contract() -> None:
    found = {(item["method"], item["path"], item["authorized"]) for item in package.routes()}
    assert found == {(o.method, o.path, bool(o.scopes)) for o in contract.OPERATIONS}


def test_every_function_has_its_handler() -> None:
    names = {path.stem for path in (ROOT / "functions").glob("*.py")} - {"__init__", "context"}
    host = {Path(name).stem for name in package.HOST_ONLY}
    assert names - host <= set(package.HANDLERS)


def test_a_release_is_of_all_functions_but_the_one_that_migrates() -> None:
    assert {*RELEASED, "migrate"} == set(package.HANDLERS)
