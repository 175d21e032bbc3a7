"""Dashboards and alert rules as files: as generated, valid, tested where promtool is, each alert with a runbook."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
GRAFANA = ROOT / "deploy" / "grafana"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", GRAFANA / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def anchors(page: Path) -> set[str]:
    """The headings of a Markdown page as links name them."""
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_dashboards_are_what_the_generator_makes() -> None:
    made = generator()
    files = {path.stem for path in (GRAFANA / "dashboards").glob("*.json")}
    assert files == set(made.DASHBOARDS)
    for name in files:
        assert (GRAFANA / "dashboards" / f"{name}.json").read_text() == made.text(name), (
            "run deploy/grafana/generate.py"
        )


@pytest.mark.parametrize("path", sorted((GRAFANA / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_can_be_provisioned(path: Path) -> None:
    """It has an id of its own, panels that do not overlap and a query in each."""
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"hookbus-{path.stem}"
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_links_the_heading_that_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert anchor == rule["alert"].lower()
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]


def test_the_rules_fire_when_they_should_and_not_otherwise() -> None:
    promtool = os.environ.get("HOOKBUS_PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian: the package prometheus); HOOKBUS_PROMTOOL may name it")
    for arguments in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_asks_every_service_and_misses_each_that_is_not_there() -> None:
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    services = {name for name, one in composed.items() if "HOOKBUS_NATS_USER" in one.get("environment", {})}
    assert {"gateway", "traces"} <= services
    [job] = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())["scrape_configs"]
    [found_by] = job["dns_sd_configs"]
    assert set(found_by["names"]) == services
    [away] = [rule["expr"] for rule in rules() if rule["alert"] == "HookbusProcessAway"]
    assert set(re.findall(r'absent\(up\{job="hookbus", service="(\w+)"\}\)', away)) == services


def test_every_alert_is_seen_to_fire_in_the_rules_own_test() -> None:
    tested = yaml.safe_load((RULES.parent / "rules_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tested for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules()}
