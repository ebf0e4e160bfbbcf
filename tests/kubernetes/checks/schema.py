"""Each object has the fields that Kubernetes or the operator that reads it knows."""

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
NUMBER = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
TRIGGERS = [
    _fields(
        "type metadata",
        "name authenticationRef metricType useCachedMetrics",
        type={"const": kind},
        metadata=metadata,
        authenticationRef=_fields("name", "kind"),
        metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    )
    for kind, metadata in {
        "aws-sqs-queue": _fields(
            "queueURL awsRegion",
            "queueLength activationQueueLength awsEndpoint scaleOnInFlight scaleOnDelayed",
        ),
        "prometheus": _fields(
            "serverAddress query threshold",
            "activationThreshold namespace customHeaders ignoreNullValues unsafeSsl timeout",
            threshold=NUMBER,
        ),
        "cpu": _fields("value", "containerName", value=NUMBER),
    }.items()
]
KEDA = {
    "ScaledObject": _fields(
        "scaleTargetRef triggers",
        "pollingInterval cooldownPeriod initialCooldownPeriod idleReplicaCount minReplicaCount"
        " maxReplicaCount fallback advanced",
        scaleTargetRef=_fields("name", "apiVersion kind envSourceContainerName"),
        fallback=_fields("failureThreshold replicas", "behavior", replicas=COUNT),
        advanced=_fields(
            "",
            "restoreToOriginalReplicaCount horizontalPodAutoscalerConfig scalingModifiers",
            horizontalPodAutoscalerConfig=_fields("", "name behavior"),
        ),
        triggers={"minItems": 1, "items": {"oneOf": TRIGGERS}},
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

# Nor are those of the External Secrets Operator (external-secrets.io/v1).
EXTERNAL = {
    "SecretStore": _fields(
        "provider",
        "refreshInterval retrySettings",
        provider=_fields(
            "aws", aws=_fields("service region", "auth role", service={"const": "SecretsManager"})
        ),
    ),
    "ExternalSecret": _fields(
        "secretStoreRef target",
        "refreshInterval refreshPolicy data dataFrom",
        secretStoreRef=_fields("name", "kind"),
        target=_fields(
            "name",
            "creationPolicy deletionPolicy template immutable",
            creationPolicy={"enum": ["Owner", "Orphan", "Merge", "None"]},
            deletionPolicy={"enum": ["Delete", "Merge", "Retain"]},
        ),
        dataFrom={"items": _fields("extract", "rewrite", extract=_fields("key", "version"))},
    ),
}
# Nor is that of Cilium (cilium.io/v2).
CILIUM = {
    "CiliumNetworkPolicy": _fields(
        "endpointSelector egress",
        "description",
        endpointSelector=_fields("", "matchLabels matchExpressions"),
        egress={
            "items": _fields(
                "toEntities toPorts",
                toEntities={"items": {"enum": ["host", "remote-node", "cluster", "world"]}},
                toPorts={
                    "items": _fields(
                        "ports",
                        ports={"items": _fields("port protocol", port={"type": "string"})},
                    )
                },
            )
        },
    ),
}
DEFINED_HERE = {
    "cilium.io": CILIUM,
    "keda.sh": KEDA,
    "monitoring.coreos.com": OPERATOR,
    "external-secrets.io": EXTERNAL,
}


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
