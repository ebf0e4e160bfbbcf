"""Each object has the fields that Kubernetes or KEDA knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate

from tests.kubernetes.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.cluster import Json


KUBERNETES = "1.37"


def _fields(required: str, optional: str = "", **known: Json) -> Json:
    """A schema of an object with these fields and no others."""
    names = required.split() + optional.split()
    properties = {name: known.get(name, {}) for name in names}
    return {"properties": properties, "required": required.split(), "additionalProperties": False}


# KEDA's definitions are in no package for Python that could stay beside pytest: these are the
# fields of KEDA 2.16 to 2.18, of which those that we use are typed.
COUNT = {"type": "integer", "minimum": 0}
KEDA = {
    "ScaledObject": _fields(
        "scaleTargetRef triggers",
        "pollingInterval cooldownPeriod initialCooldownPeriod idleReplicaCount minReplicaCount"
        " maxReplicaCount fallback advanced",
        scaleTargetRef=_fields("name", "apiVersion kind envSourceContainerName"),
        fallback=_fields("failureThreshold replicas", "behavior", replicas=COUNT),
        triggers={
            "minItems": 1,
            "items": _fields(
                "type metadata",
                "name authenticationRef metricType useCachedMetrics",
                metadata=_fields(
                    "queueURL awsRegion",
                    "queueLength activationQueueLength awsEndpoint scaleOnInFlight scaleOnDelayed",
                ),
                authenticationRef=_fields("name", "kind"),
            ),
        },
        **dict.fromkeys(("pollingInterval", "cooldownPeriod"), COUNT),
        **dict.fromkeys(("minReplicaCount", "maxReplicaCount"), COUNT),
    ),
    "TriggerAuthentication": _fields(
        "",
        "podIdentity secretTargetRef env",
        podIdentity=_fields(
            "provider",
            "identityId roleArn identityOwner",
            provider={"enum": ["aws", "azure-workload", "gcp", "none"]},
        ),
    ),
}


def schemas(cluster: Cluster) -> Iterator[str]:
    """Each object is what Kubernetes, or KEDA, would accept, with no unknown field."""
    for item in cluster.objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            if item["apiVersion"].startswith("keda.sh/"):
                jsonschema.validate(item["spec"], KEDA[item["kind"]])
            else:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{name}: {error.message}"
