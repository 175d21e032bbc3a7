"""Questions that tests ask of what the chart renders to: its pods, their settings, who may reach whom."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic_settings import BaseSettings

from hookbus.audit.settings import AuditSettings
from hookbus.budget.settings import BudgetSettings
from hookbus.embedded.traces.settings import TracesSettings
from hookbus.gateway.settings import GatewaySettings
from hookbus.session.settings import SessionSettings

EXTERNAL: Final = {
    "nats.bundled": False,
    "nats.url": "nats://bus.example:4222",
    "postgres.bundled": False,
    "postgres.host": "db.example",
}
FULL: Final = {
    "autoscaling.enabled": True,
    "ingress.enabled": True,
    "ingress.className": "nginx",
    "ingress.tlsSecret": "hookbus-tls",
    "networkPolicy.scrapeFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    "networkPolicy.auditEgress": [{"ports": [{"protocol": "TCP", "port": 443}]}],
    "image.pullSecrets": ["registry"],
    "audit.storage.className": "fast",
    "gateway.env": {"HOOKBUS_GUARD_MODE": "strict"},
}
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "external": EXTERNAL,
    "full": FULL,
    "one node": {"nats.replicas": 1},
}
SETTINGS: Final[dict[str, type[BaseSettings]]] = {
    "gateway": GatewaySettings,
    "budget": BudgetSettings,
    "session": SessionSettings,
    "audit": AuditSettings,
    "traces": TracesSettings,
}
WITH_TOKEN: Final = {"secrets", "credentials"}

DATABASE_PORT: Final = 5432


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] in kinds}


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Component -> the template of its pods."""
    templates = [one["spec"]["template"] for one in of_kind(objects, "Deployment", "StatefulSet", "Job").values()]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in templates}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container.get("env", [])}


def setting_names(settings: type[BaseSettings]) -> set[str]:
    prefix = settings.model_config.get("env_prefix", "")
    return {
        alias if isinstance(alias := field.validation_alias, str) else f"{prefix}{name}".upper()
        for name, field in settings.model_fields.items()
    }


def covers(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def selected(policy_selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector, with ``In`` expressions, meets a pod."""
    expressions = policy_selector.get("matchExpressions", [])
    return policy_selector.get("matchLabels", {}).items() <= labels.items() and all(
        one["operator"] == "In" and labels.get(one["key"]) in one["values"] for one in expressions
    )


def ports_between(objects: list[dict[str, Any]], source: str, target: str) -> set[int]:
    """The ports of ``target`` that the network policies let ``source`` reach: what both sides let through."""
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}

    def allowed(direction: str, own: str, key: str, other: str) -> set[int]:
        ports: set[int] = set()
        bound = False
        for policy in of_kind(objects, "NetworkPolicy").values():
            spec = policy["spec"]
            if direction not in spec["policyTypes"] or not selected(spec["podSelector"], labels[own]):
                continue
            bound = True
            for rule in spec.get(direction.lower(), []):
                peers = rule.get(key)
                if peers is None or any(
                    "podSelector" in peer and selected(peer["podSelector"], labels[other]) for peer in peers
                ):
                    ports |= {port["port"] for port in rule["ports"]}
        assert bound, f"no policy bounds what {own} may do ({direction})"
        return ports

    return allowed("Egress", source, "to", target) & allowed("Ingress", target, "from", source)


def ports_out(objects: list[dict[str, Any]], component: str) -> set[int]:
    """The ports, wherever they are, that the network policies let a component call."""
    labels = pods(objects)[component]["metadata"]["labels"]
    return {
        port["port"]
        for policy in of_kind(objects, "NetworkPolicy").values()
        if "Egress" in policy["spec"]["policyTypes"] and selected(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    }


def pairs(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    names = list(pods(objects))
    return ((source, target) for source in names for target in names if source != target)
