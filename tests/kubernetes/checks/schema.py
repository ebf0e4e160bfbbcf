"""Each object has the fields that Kubernetes, KEDA or the Prometheus operator knows."""

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


# The Prometheus operator's definitions are in no such package either: the fields that we use.
RULE = {
    "oneOf": [
        _fields("record expr", "labels"),
        _fields("alert expr labels annotations", "for keep_firing_for"),
    ]
}
OPERATOR = {
    "PodMonitor": _fields(
        "selector podMetricsEndpoints",
        "namespaceSelector podTargetLabels jobLabel",
        selector=_fields("", "matchLabels matchExpressions"),
        podMetricsEndpoints={
            "minItems": 1,
            "items": _fields("port", "path interval scrapeTimeout scheme relabelings"),
        },
    ),
    "PrometheusRule": _fields(
        "groups",
        groups={"items": _fields("name rules", "interval", rules={"items": RULE})},
    ),
}
DEFINED_HERE = {"keda.sh": KEDA, "monitoring.coreos.com": OPERATOR}


def schemas(cluster: Cluster) -> Iterator[str]:
    """Each object is what Kubernetes, or an operator, would accept, with no unknown field."""
    for item in cluster.objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            own = DEFINED_HERE.get(item["apiVersion"].partition("/")[0])
            if own is not None:
                jsonschema.validate(item["spec"], own[item["kind"]])
            else:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{name}: {error.message}"
