"""Ways to break an overlay, each of which a check must notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kubernetes.checks.endpoints import HEALTHCHECK_PATH
from tests.kubernetes.cluster import COMPONENT, Cluster, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kubernetes.cluster import Json


def settings_of(cluster: Cluster) -> Json:
    (found,) = cluster.kind("ConfigMap")
    data: Json = found["data"]
    return data


def catalog(cluster: Cluster, role: str) -> Json:
    return cluster.role(role).spec


def pod(cluster: Cluster, role: str) -> Json:
    return cluster.role(role).pod


def container(cluster: Cluster, workload: str, name: str) -> Json:
    (found,) = [it.spec for it in cluster.containers() if str(it) == f"{workload}/{name}"]
    return found


def job(cluster: Cluster) -> Json:
    found: Json = cluster.migration().workload["spec"]
    return found


def policy(cluster: Cluster, name: str) -> Json:
    spec: Json = cluster.get("NetworkPolicy", name)["spec"]
    return spec


def annotated(cluster: Cluster, role: str) -> Json:
    found: Json = cluster.role(role).workload["spec"]["template"]["metadata"]["annotations"]
    return found


def trigger(cluster: Cluster) -> Json:
    found: Json = cluster.get("ScaledObject", "sync")["spec"]["triggers"][0]
    return found


def request_trigger(cluster: Cluster) -> Json:
    found: Json = cluster.get("ScaledObject", "api")["spec"]["triggers"][0]["metadata"]
    return found


def cilium_ports(cluster: Cluster) -> list[Json]:
    (rule,) = cluster.get("CiliumNetworkPolicy", "to-pod-identity")["spec"]["egress"]
    found: list[Json] = rule["toPorts"][0]["ports"]
    return found


def ingress(cluster: Cluster) -> Json:
    found: Json = cluster.get("Ingress", "api")["metadata"]["annotations"]
    return found


def blocks(cluster: Cluster, name: str) -> list[Json]:
    found: list[Json] = policy(cluster, name)["egress"][0]["to"]
    return found


def put(target: Any, key: str | int, value: object) -> None:  # noqa: ANN401 - JSON
    target[key] = value


BROKEN: dict[str, tuple[str, Callable[[Cluster], object]]] = {
    "schemas: a misspelt field": (
        "development",
        lambda c: put(pod(c, "api"), "serviceAcountName", "api"),
    ),
    "schemas: a missing field": ("development", lambda c: catalog(c, "sync").pop("name")),
    "schemas: a misspelt field of KEDA": (
        "production",
        lambda c: put(c.get("ScaledObject", "sync")["spec"], "minReplicas", 1),
    ),
    "schemas: no trigger": (
        "production",
        lambda c: c.get("ScaledObject", "sync")["spec"].pop("triggers"),
    ),
    "settings: one is missing": (
        "development",
        lambda c: settings_of(c).pop("SUPPLY_CHAIN_URL"),
    ),
    "settings: one is not valid": (
        "production",
        lambda c: put(settings_of(c), "SYNC_MAX_ATTEMPTS", "many"),
    ),
    "settings: one is misspelt": (
        "production",
        lambda c: put(settings_of(c), "SYNC_CONCURENCY", "3"),
    ),
    "settings: no region": ("production", lambda c: settings_of(c).pop("AWS_DEFAULT_REGION")),
    "settings: neither a Secret nor the name of one in Secrets Manager": (
        "production",
        lambda c: catalog(c, "sync")["envFrom"].pop(),
    ),
    "settings: another ConfigMap": (
        "development",
        lambda c: put(catalog(c, "api")["envFrom"][0], "configMapRef", {"name": "other"}),
    ),
    "secrets: one in a ConfigMap": (
        "production",
        lambda c: put(settings_of(c), "CATALOG_JWT_SECRET", "x"),
    ),
    "secrets: a setting among them": (
        "development",
        lambda c: put(c.kind("Secret")[0]["data"], "LOG_LEVEL", "SU5GTw=="),
    ),
    "secrets: another Secret": (
        "development",
        lambda c: put(catalog(c, "sync")["envFrom"][1], "secretRef", {"name": "other"}),
    ),
    "secrets: a key that is not there": (
        "production",
        lambda c: put(
            catalog(c, "sync"),
            "env",
            [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "secrets", "key": "NOT_THERE"}}}],
        ),
    ),
    "selectors: of a Service": (
        "development",
        lambda c: put(c.get("Service", "api")["spec"], "selector", {COMPONENT: "apis"}),
    ),
    "selectors: of a Deployment": (
        "production",
        lambda c: put(
            c.get("Deployment", "sync")["spec"]["selector"],
            "matchLabels",
            {COMPONENT: "synch"},
        ),
    ),
    "selectors: of a budget": (
        "production",
        lambda c: put(
            c.get("PodDisruptionBudget", "api")["spec"]["selector"],
            "matchLabels",
            {COMPONENT: "apis"},
        ),
    ),
    "selectors: of a policy": (
        "development",
        lambda c: put(
            policy(c, "to-nats")["podSelector"]["matchExpressions"][0], "values", ["bridges"]
        ),
    ),
    "targets: of an autoscaler": (
        "scaling-by-cpu",
        lambda c: put(
            c.get("HorizontalPodAutoscaler", "api")["spec"]["scaleTargetRef"], "name", "apis"
        ),
    ),
    "targets: a number beside it": (
        "production",
        lambda c: put(c.get("Deployment", "sync")["spec"], "replicas", 3),
    ),
    "targets: no such account": (
        "production",
        lambda c: put(pod(c, "sync"), "serviceAccountName", "synch"),
    ),
    "targets: no autoscaler": (
        "production",
        lambda c: c.objects.remove(c.get("ScaledObject", "api")),
    ),
    "targets: the account of another role": (
        "production",
        lambda c: put(pod(c, "sync"), "serviceAccountName", "api"),
    ),
    "budgets: no pod may go": (
        "production",
        lambda c: put(c.get("PodDisruptionBudget", "api")["spec"], "maxUnavailable", 0),
    ),
    "budgets: a pod that is not ready may not go": (
        "production",
        lambda c: c.get("PodDisruptionBudget", "sync")["spec"].pop("unhealthyPodEvictionPolicy"),
    ),
    "queue_scaling: another queue": (
        "production",
        lambda c: put(trigger(c)["metadata"], "queueURL", "https://sqs/other"),
    ),
    "queue_scaling: messages in flight count": (
        "production",
        lambda c: put(trigger(c)["metadata"], "scaleOnInFlight", "true"),
    ),
    "queue_scaling: no such authentication": (
        "production",
        lambda c: put(trigger(c)["authenticationRef"], "name", "other"),
    ),
    "probes: no such route": (
        "development",
        lambda c: put(catalog(c, "api")["livenessProbe"]["httpGet"], "path", "/api/healthz"),
    ),
    "probes: a route that wants a token": (
        "production",
        lambda c: put(catalog(c, "api")["readinessProbe"]["httpGet"], "path", "/api/products"),
    ),
    "probes: no such port": (
        "production",
        lambda c: put(catalog(c, "api")["startupProbe"]["httpGet"], "port", "web"),
    ),
    "probes: another heartbeat": (
        "production",
        lambda c: put(catalog(c, "sync")["livenessProbe"]["exec"]["command"], 3, "/srv/beat"),
    ),
    "probes: a command that is not there": (
        "production",
        lambda c: put(catalog(c, "sync")["livenessProbe"]["exec"]["command"], 0, "curl"),
    ),
    "probes: none": ("production", lambda c: catalog(c, "bridge").pop("livenessProbe")),
    "probes: of the API's readiness, none": (
        "production",
        lambda c: catalog(c, "api").pop("readinessProbe"),
    ),
    "probes: of the queues' readiness, none": (
        "development",
        lambda c: container(c, "sqs", "queues").pop("readinessProbe"),
    ),
    "api_probes: started anew while MongoDB is away": (
        "production",
        lambda c: put(catalog(c, "api")["livenessProbe"]["httpGet"], "path", "/api/ready"),
    ),
    "api_probes: ready without MongoDB": (
        "development",
        lambda c: put(catalog(c, "api")["readinessProbe"]["httpGet"], "path", "/api/health"),
    ),
    "ports: PORT is another": ("production", lambda c: put(settings_of(c), "PORT", "8080")),
    "ports: of a Service": (
        "development",
        lambda c: put(c.get("Service", "nats")["spec"]["ports"][0], "targetPort", 4223),
    ),
    "ports: in an address": (
        "development",
        lambda c: put(settings_of(c), "NATS_URL", "nats://nats:4223"),
    ),
    "ports: of a policy's way in": (
        "production",
        lambda c: put(policy(c, "api-from-ingress")["ingress"][0]["ports"][0], "port", 80),
    ),
    "ports: of a policy's way out": (
        "development",
        lambda c: put(policy(c, "to-sqs")["egress"][0]["ports"][0], "port", 4567),
    ),
    "ports: the Ingress is elsewhere": (
        "production",
        lambda c: put(c.get("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0], "path", "/"),
    ),
    "ports: the load balancer asks elsewhere": (
        "production",
        lambda c: put(
            c.get("Ingress", "api")["metadata"]["annotations"], HEALTHCHECK_PATH, "/health"
        ),
    ),
    "ports: the Ingress has no Service": (
        "production",
        lambda c: put(
            c.get("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"],
            "name",
            "apis",
        ),
    ),
    "metrics: on another port": (
        "production",
        lambda c: put(settings_of(c), "METRICS_PORT", "9101"),
    ),
    "metrics: another port is annotated": (
        "development",
        lambda c: put(annotated(c, "sync"), "prometheus.io/port", "8000"),
    ),
    "metrics: not annotated": ("production", lambda c: annotated(c, "api").clear()),
    "metrics: Prometheus may not ask": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "metrics-from-prometheus")),
    ),
    "metrics: of a role Prometheus may not ask for": (
        "development",
        lambda c: policy(c, "metrics-from-prometheus")["podSelector"]["matchExpressions"][0][
            "values"
        ].remove("bridge"),
    ),
    "metrics: everybody may ask": (
        "production",
        lambda c: policy(c, "metrics-from-prometheus")["ingress"][0].pop("from"),
    ),
    "metrics: the operator does not find them": (
        "prometheus-operator",
        lambda c: put(
            c.get("PodMonitor", "product-catalog")["spec"]["podMetricsEndpoints"][0], "port", "http"
        ),
    ),
    "schemas: a misspelt field of the Prometheus operator": (
        "prometheus-operator",
        lambda c: put(c.get("PrometheusRule", "product-catalog")["spec"]["groups"][0], "every", 1),
    ),
    "images: latest": (
        "development",
        lambda c: put(c.containers()[-1].spec, "image", "mongo:latest"),
    ),
    "images: no tag": ("production", lambda c: put(catalog(c, "api"), "image", "product-catalog")),
    "images: another version": (
        "production",
        lambda c: put(catalog(c, "api"), "image", "product-catalog:0.9.0"),
    ),
    "images: not what the tests run": (
        "development",
        lambda c: put(catalog(c, "api"), "image", "nats:2.1.0-alpine"),
    ),
    "security: root": (
        "production",
        lambda c: pod(c, "api")["securityContext"].pop("runAsNonRoot"),
    ),
    "security: no seccomp": (
        "production",
        lambda c: pod(c, "api")["securityContext"].pop("seccompProfile"),
    ),
    "security: a token": (
        "production",
        lambda c: pod(c, "api").pop("automountServiceAccountToken"),
    ),
    "security: service links": ("production", lambda c: pod(c, "api").pop("enableServiceLinks")),
    "security: the node's network": (
        "production",
        lambda c: put(pod(c, "api"), "hostNetwork", value=True),
    ),
    "security: a writable root": (
        "development",
        lambda c: put(catalog(c, "sync")["securityContext"], "readOnlyRootFilesystem", value=False),
    ),
    "security: an init container without": (
        "development",
        lambda c: pod(c, "sync")["initContainers"][0].pop("securityContext"),
    ),
    "security: an account with tokens": (
        "production",
        lambda c: c.get("ServiceAccount", "api").pop("automountServiceAccountToken"),
    ),
    "security: a lax namespace": (
        "production",
        lambda c: put(c.kind("Namespace")[0]["metadata"], "labels", {}),
    ),
    "resources: no limit": (
        "production",
        lambda c: catalog(c, "api")["resources"]["limits"].pop("memory"),
    ),
    "roles: another role": ("production", lambda c: put(catalog(c, "bridge"), "args", ["sync"])),
    "roles: killed with calls in progress": (
        "production",
        lambda c: put(pod(c, "sync"), "terminationGracePeriodSeconds", 30),
    ),
    "roles: killed with requests in progress": (
        "production",
        lambda c: put(pod(c, "api"), "terminationGracePeriodSeconds", 10),
    ),
    "roles: killed with calls of a second round in progress": (
        "production",
        lambda c: put(settings_of(c), "SYNC_CONCURRENCY", "5"),
    ),
    "roles: the bridge is killed at once": (
        "production",
        lambda c: put(pod(c, "bridge"), "terminationGracePeriodSeconds", 1),
    ),
    "roles: reconcile is killed at once": (
        "production",
        lambda c: put(pod(c, "reconcile"), "terminationGracePeriodSeconds", 1),
    ),
    "roles: no such module": (
        "development",
        lambda c: put(
            c.get("Deployment", "supply-chain")["spec"]["template"]["spec"]["containers"][0],
            "command",
            ["python", "-m", "embedded.nothing"],
        ),
    ),
    "settings: the migration has none": (
        "production",
        lambda c: put(c.migration().spec, "envFrom", []),
    ),
    "migration: a role": (
        "production",
        lambda c: put(c.migration().spec, "command", ["python", "-m", "functions.run"]),
    ),
    "migration: of another release": (
        "production",
        lambda c: put(c.migration().spec, "image", "product-catalog:0.9.0"),
    ),
    "migration: tried once": ("development", lambda c: put(job(c), "backoffLimit", 0)),
    "migration: in the same pod, which hides its exit code": (
        "development",
        lambda c: put(c.migration().pod, "restartPolicy", "OnFailure"),
    ),
    "migration: again with unusable settings": (
        "production",
        lambda c: job(c)["podFailurePolicy"]["rules"].pop(0),
    ),
    "migration: a drained node is a failure": (
        "production",
        lambda c: job(c)["podFailurePolicy"]["rules"].pop(),
    ),
    "migration: with a deadline": (
        "production",
        lambda c: put(job(c), "activeDeadlineSeconds", 60),
    ),
    "migration: it stays": (
        "production",
        lambda c: job(c).pop("ttlSecondsAfterFinished"),
    ),
    "volumes: nothing is mounted": (
        "production",
        lambda c: catalog(c, "sync").pop("volumeMounts"),
    ),
    "volumes: what is mounted is not there": (
        "production",
        lambda c: pod(c, "sync").pop("volumes"),
    ),
    "volumes: no place for the heartbeat": (
        "development",
        lambda c: put(catalog(c, "bridge")["volumeMounts"][-1], "mountPath", "/var"),
    ),
    "network: nothing is denied": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "default-deny")),
    ),
    "network: too much is allowed": (
        "development",
        lambda c: [
            policy(c, "to-mongodb")["podSelector"]["matchExpressions"][0]["values"].append(
                "bridge"
            ),
            policy(c, "from-clients-of-mongodb")["ingress"][0]["from"][0]["podSelector"][
                "matchExpressions"
            ][0]["values"].append("bridge"),
        ],
    ),
    "network: no way for the migration": (
        "production",
        lambda c: policy(c, "to-mongodb")["podSelector"]["matchExpressions"][0]["values"].remove(
            "migrate"
        ),
    ),
    "network: no way out": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "to-nats")),
    ),
    "network: no way to SQS": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "to-https")),
    ),
    "network: no way to the supply chain": (
        "production",
        lambda c: policy(c, "to-https")["podSelector"]["matchExpressions"][0]["values"].remove(
            "sync"
        ),
    ),
    "network: no names": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "names")),
    ),
    "network: no long names": (
        "development",
        lambda c: policy(c, "names")["egress"][0]["ports"].pop(),
    ),
    "network: names of another server": (
        "development",
        lambda c: policy(c, "names")["egress"][0]["to"][0].pop("namespaceSelector"),
    ),
    "network: no way in to the API": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "api-from-ingress")),
    ),
    "network: another port of the API": (
        "development",
        lambda c: put(policy(c, "api-from-ingress")["ingress"][0]["ports"][0], "port", 9000),
    ),
    "network: no way in": (
        "development",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "from-clients-of-sqs")),
    ),
    "targets: scaled twice": (
        "scaling-by-cpu",
        lambda c: c.objects.append(render("production").get("ScaledObject", "api")),
    ),
    "schemas: a misspelt field of a trigger": (
        "production",
        lambda c: put(request_trigger(c), "treshold", "5"),
    ),
    "schemas: a port of Cilium that is a number": (
        "cilium",
        lambda c: put(cilium_ports(c)[0], "port", 80),
    ),
    "schemas: a misspelt field of an external secret": (
        "external-secrets",
        lambda c: put(c.get("ExternalSecret", "secrets")["spec"], "refreshIntervall", "1h"),
    ),
    "request_scaling: a metric that nobody exports": (
        "production",
        lambda c: put(
            request_trigger(c), "query", request_trigger(c)["query"].replace("requests", "calls")
        ),
    ),
    "request_scaling: probes count": (
        "production",
        lambda c: put(
            request_trigger(c), "query", request_trigger(c)["query"].replace("|getReadiness", "")
        ),
    ),
    "request_scaling: nothing is no request": (
        "production",
        lambda c: request_trigger(c).pop("ignoreNullValues"),
    ),
    "request_scaling: a fallback": (
        "production",
        lambda c: put(
            c.get("ScaledObject", "api")["spec"], "fallback", {"failureThreshold": 1, "replicas": 2}
        ),
    ),
    "request_scaling: no CPU": (
        "production",
        lambda c: put(c.get("ScaledObject", "api")["spec"]["triggers"][1], "type", "memory"),
    ),
    "request_scaling: a second autoscaler": (
        "production",
        lambda c: c.get("ScaledObject", "api")["metadata"]["annotations"].clear(),
    ),
    "load_balancer: old TLS": (
        "production",
        lambda c: put(
            ingress(c), "alb.ingress.kubernetes.io/ssl-policy", "ELBSecurityPolicy-2016-08"
        ),
    ),
    "load_balancer: no policy": (
        "production",
        lambda c: ingress(c).pop("alb.ingress.kubernetes.io/ssl-policy"),
    ),
    "load_balancer: HTTP is served": (
        "production",
        lambda c: ingress(c).pop("alb.ingress.kubernetes.io/ssl-redirect"),
    ),
    "load_balancer: no limit": (
        "production",
        lambda c: ingress(c).pop("alb.ingress.kubernetes.io/wafv2-acl-arn"),
    ),
    "credentials: none": (
        "production",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "to-pod-identity")),
    ),
    "credentials: none by IPv6": ("production", lambda c: blocks(c, "to-pod-identity").pop()),
    "credentials: on another port": (
        "production",
        lambda c: put(policy(c, "to-pod-identity")["egress"][0]["ports"][0], "port", 443),
    ),
    "credentials: for the migration, which needs none": (
        "production",
        lambda c: policy(c, "to-pod-identity")["podSelector"]["matchExpressions"][0][
            "values"
        ].append("migrate"),
    ),
    "credentials: of the node": (
        "production",
        lambda c: blocks(c, "to-https")[0]["ipBlock"].pop("except"),
    ),
    "credentials: of the node by IPv6": (
        "production",
        lambda c: blocks(c, "to-https").append({"ipBlock": {"cidr": "::/0"}}),
    ),
}
