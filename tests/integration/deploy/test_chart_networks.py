"""The chart's network policies: only the gateway is reached from outside, and it has no way to the database."""

from typing import Any

import pytest
from support.chart import DATABASE_PORT, EXTERNAL, SETTINGS, of_kind, pairs, pods, ports_between, ports_out
from support.helm import Helm


def test_the_gateway_alone_is_reached_from_outside(objects: list[dict[str, Any]]) -> None:
    open_to_all: set[str] = set()
    for policy in of_kind(objects, "NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []):
            if "from" not in rule:
                open_to_all.add(policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"])
    assert open_to_all == {"gateway"}


def test_the_database_is_reached_by_its_services_and_not_by_the_gateway(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    objects = rendered["default"]
    links = {pair for pair in pairs(objects) if ports_between(objects, *pair)}
    reach = {source for source, target in links if target == "postgres"}
    assert reach == {"budget", "session", "audit", "traces", "setup"}
    for source in reach:
        assert ports_between(objects, source, "postgres") == {DATABASE_PORT}
    assert {source for source, target in links if target == "nats"} == {*SETTINGS, "setup", "credentials"}


def test_the_gateway_has_no_way_to_a_database_outside_either(rendered: dict[str, list[dict[str, Any]]]) -> None:
    assert ports_out(rendered["external"], "gateway") == {53, 4222, 8787}


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("nats://bus.example", {4222}),
        ("nats://bus.example:4333/", {4333}),
        ("tls://one.example:4333, tls://[fd00::2]:4444,tls://[fd00::3]", {4222, 4333, 4444}),
    ],
)
def test_a_bus_of_one_s_own_is_reached_at_the_ports_of_its_address(helm: Helm, url: str, ports: set[int]) -> None:
    objects = helm.template({**EXTERNAL, "nats.url": url})
    for component in (*SETTINGS, "setup", "credentials"):
        assert ports_out(objects, component) >= ports
    assert ports_out(objects, "gateway") == {53, 8787} | ports


def test_a_collector_of_one_s_own_is_reached_by_whoever_sends_spans(helm: Helm) -> None:
    collector = {"otlpEndpoint": "http://collector.observability:4318"}
    egress = [{"ports": [{"protocol": "TCP", "port": 4318}]}]
    opened = helm.template({**collector, "networkPolicy.otlpEgress": egress})
    closed = helm.template(collector)
    for component in pods(opened):
        sends = component in SETTINGS and component != "traces"
        assert (4318 in ports_out(opened, component)) is sends
        assert 4318 not in ports_out(closed, component)
