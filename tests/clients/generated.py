"""Clients that two generators make of the OpenAPI document, each behind the same few methods.

Each method is the call that a consumer of that generator writes. The generated code is imported by
name: no type checker can know it.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clients.conftest import Served
    from tests.support import Json

COMMANDS = Path(sys.executable).parent


class Answer(NamedTuple):
    """What a call gave: `value` is an object of a generated class, None without a body."""

    status: int
    value: Any
    headers: Mapping[str, str]
    content: bytes


class GeneratedClient(ABC):
    """A client in the package `package`, which `generate` writes below a folder."""

    package: ClassVar[str]

    def __init__(self, served: Served) -> None:
        self._models = importlib.import_module(f"{self.package}.models")
        self._connect(served)

    @classmethod
    @abstractmethod
    def generate(cls, document: str, folder: Path) -> Path:
        """Generate the package of the document at this address; give the folder that has it."""

    @abstractmethod
    def _connect(self, served: Served) -> None: ...

    @abstractmethod
    def call(self, tag: str, operation: str, body: object = None, **arguments: object) -> Answer:
        """Call an operation by its generated name; `body` is an object of a generated class."""

    @abstractmethod
    def operations(self, tag: str) -> set[str]:
        """The names of the generated operations of a tag."""

    def model(self, name: str, fields: Json) -> Any:  # noqa: ANN401 - generated
        """An object of a generated class, of the JSON that it stands for."""
        return getattr(self._models, name).from_dict(fields)

    def made(self, name: str, **fields: object) -> Any:  # noqa: ANN401 - generated
        """An object of a generated class, with these of its fields."""
        return getattr(self._models, name)(**fields)


class OfOpenapiPythonClient(GeneratedClient):
    """openapi-python-client: attrs classes and httpx; a module per operation."""

    package = "product_catalog_client"

    @classmethod
    def generate(cls, document: str, folder: Path) -> Path:
        made = folder / "client"
        # Else ruff formats what it has made: nobody reads it here.
        config = folder / "config.json"
        config.write_text('{"post_hooks": []}')
        _run(
            "openapi-python-client", "generate", "--url", document, "--output-path", str(made),
            "--config", str(config), "--fail-on-warning",
        )  # fmt: skip
        return made

    def _connect(self, served: Served) -> None:
        client = importlib.import_module(self.package)
        self._client = client.AuthenticatedClient(base_url=served.url, token=served.token)

    def call(self, tag: str, operation: str, body: object = None, **arguments: object) -> Answer:
        given = arguments if body is None else {"body": body, **arguments}
        module = importlib.import_module(f"{self.package}.api.{tag}.{operation}")
        answer = module.sync_detailed(client=self._client, **given)
        return Answer(answer.status_code, answer.parsed, answer.headers, answer.content)

    def operations(self, tag: str) -> set[str]:
        folder = importlib.import_module(f"{self.package}.api.{tag}").__path__[0]
        return {file.stem for file in Path(folder).glob("[!_]*.py")}


class OfOpenapiGenerator(GeneratedClient):
    """openapi-generator, `-g python`: pydantic classes and urllib3; a class per tag."""

    package = "openapi_client"

    @classmethod
    def generate(cls, document: str, folder: Path) -> Path:
        made = folder / "client"
        unneeded = "apiTests=false,apiDocs=false,modelTests=false,modelDocs=false"
        _run(
            "openapi-generator-cli", "generate", "-g", "python", "-i", document, "-o", str(made),
            "--global-property", unneeded,
        )  # fmt: skip
        return made

    def _connect(self, served: Served) -> None:
        client = importlib.import_module(self.package)
        configuration = client.Configuration(host=served.url, access_token=served.token)
        self._client = client.ApiClient(configuration)
        self._refusal: type[Exception] = client.ApiException

    def _api(self, tag: str) -> Any:  # noqa: ANN401 - generated
        client = importlib.import_module(self.package)
        return getattr(client, f"{tag.title()}Api")(self._client)

    def call(self, tag: str, operation: str, body: object = None, **arguments: object) -> Answer:
        # A body's argument has the name of its class: product_fields.
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(body).__name__).lower()
        given = arguments if body is None else {name: body, **arguments}
        method = getattr(self._api(tag), f"{operation}_with_http_info")
        try:
            answer = method(**given)
        except self._refusal as error:
            refused: Any = error
            content = (refused.body or "").encode()
            return Answer(refused.status, refused.data, refused.headers, content)
        return Answer(answer.status_code, answer.data, answer.headers, answer.raw_data)

    def operations(self, tag: str) -> set[str]:
        suffix = "_with_http_info"
        return {name.removesuffix(suffix) for name in dir(self._api(tag)) if name.endswith(suffix)}


CLIENTS: list[type[GeneratedClient]] = [OfOpenapiPythonClient, OfOpenapiGenerator]


def _run(command: str, *arguments: str) -> None:
    run = subprocess.run(
        [str(COMMANDS / command), *arguments],
        # The first compiler of the Java VM is enough for one short run, and takes a third less.
        env={**os.environ, "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
