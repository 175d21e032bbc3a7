"""The chart's network policies: only the gateway is reached from outside, and it has no way to the database."""

from typing import Any

from support.chart import DATABASE_PORT, SETTINGS, of_kind, pairs, pods, ports_between, selected


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
    objects = rendered["external"]
    labels = pods(objects)["gateway"]["metadata"]["labels"]
    ports = {
        port["port"]
        for policy in of_kind(objects, "NetworkPolicy").values()
        if "Egress" in policy["spec"]["policyTypes"] and selected(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    }
    assert ports == {53, 4222, 8787}
