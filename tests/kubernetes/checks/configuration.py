"""Settings and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.settings import SECRET_NAMES, Settings, SettingsError, read_settings, secret_id
from tests.kubernetes.cluster import ROLES, Cluster, example_secret

if TYPE_CHECKING:
    from collections.abc import Iterator


AWS = {"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_SQS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
# Read before the settings are: see `secret_id` and `cors_origin`.
EARLY = {"CATALOG_SECRET_ID", "CORS_ORIGIN"}


def settings(cluster: Cluster) -> Iterator[str]:
    """Each role, and the migration, gets every setting that the code requires, and no other."""
    known = {field.alias for field in Settings.model_fields.values()} | AWS | EARLY
    for container in (*map(cluster.role, ROLES), cluster.migration()):
        try:
            environment = cluster.environment(container)
            read_as_a_role(environment)
        except (SettingsError, KeyError) as error:
            yield f"{container}: {error}"
            continue
        if unknown := environment.keys() - known:
            yield f"{container}: unknown settings {sorted(unknown)}"
        if "AWS_DEFAULT_REGION" not in environment:
            yield f"{container}: AWS_DEFAULT_REGION is missing"


def read_as_a_role(environment: dict[str, str]) -> Settings:
    """Read the settings as a role does, from Secrets Manager too if they say so."""
    if not secret_id(environment):
        return read_settings(environment)
    held: dict[str, str] = example_secret()["stringData"]
    return read_settings(environment, held)


def secrets(cluster: Cluster) -> Iterator[str]:
    """Secrets hold secrets, ConfigMaps none, and every one that a container names exists."""
    secret_names = SECRET_NAMES | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for item in cluster.kind("ConfigMap"):
        for key in item["data"].keys() & secret_names:
            yield f"ConfigMap {item['metadata']['name']} holds {key}"
    for name, content in cluster.secrets().items():
        for key in content.keys() - secret_names:
            yield f"Secret {name} holds {key}, which is no secret"
    for container in cluster.containers():
        for source in container.spec.get("envFrom", []):
            wanted = source.get("secretRef", {}).get("name")
            if wanted and wanted not in cluster.secrets():
                yield f"{container}: no Secret {wanted}"
        for variable in container.spec.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if reference and reference["key"] not in cluster.secrets().get(reference["name"], {}):
                yield f"{container}: no key {reference['key']} in Secret {reference['name']}"
