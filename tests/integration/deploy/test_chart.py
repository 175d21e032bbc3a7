"""The Helm chart: rendered by helm, valid by Kubernetes' own schemas, every pod of it hardened."""

import json
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, Final, cast

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]  # it has none
import pytest
import yaml
from support.chart import SETTINGS, WITH_TOKEN, containers, of_kind, pods
from support.helm import CHART, Helm

from hookbus.platform.bus.checks import bus_check

COMPOSE: Final = CHART.parents[2] / "docker-compose.yml"
KUBERNETES_VERSIONS: Final = ("1.30", "1.35", "1.37")
SERVICES: Final = ("budget", "session", "audit")
PARTS: Final = (bus_check(cast("Any", None)).name, *SERVICES)
"""What a gateway's ``/readyz`` asks."""


def test_helm_finds_no_fault_in_the_chart(helm: Helm) -> None:
    done = helm.run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_each_object_is_valid_by_kubernetes_own_schema(objects: list[dict[str, Any]], version: str) -> None:
    assert objects
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_schema_check_sees_a_planted_fault(rendered: dict[str, list[dict[str, Any]]]) -> None:
    [first, *_] = of_kind(rendered["default"], "Deployment").values()
    broken = {**first, "spec": {**first["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(broken, KUBERNETES_VERSIONS[0], strict=True)


def test_names_are_unique_and_every_value_of_the_file_is_used(rendered: dict[str, list[dict[str, Any]]]) -> None:
    for objects in rendered.values():
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        assert len(names) == len(set(names))
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for name, section in values.items():
        assert f".Values.{name}" in templates or f'"{name}"' in templates
        for key in cast("dict[str, Any]", section) if isinstance(section, dict) else ():
            assert re.search(rf'\.{key}\b|"{key}"', templates), f"{name}.{key}"


def test_without_its_own_servers_the_chart_asks_where_the_others_are(helm: Helm) -> None:
    for missing in ("nats", "postgres"):
        done = helm.run("template", "hookbus", str(CHART), f"--set={missing}.bundled=false")
        assert done.returncode != 0
        assert f"is needed where {missing}.bundled is false" in done.stderr


def test_an_upgrade_migrates_before_any_service_changes_and_an_install_beside_them(helm: Helm) -> None:
    def setup(objects: list[dict[str, Any]]) -> dict[str, Any]:
        [job] = [one for name, one in of_kind(objects, "Job").items() if "-setup-" in name]
        return job["metadata"].get("annotations", {})

    assert "helm.sh/hook" not in setup(helm.template())
    upgrade = helm.template({}, "--is-upgrade")
    assert setup(upgrade)["helm.sh/hook"] == "pre-upgrade"
    hooks = {
        one["metadata"]["name"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"])
        for one in of_kind(upgrade, "Job", "ServiceAccount").values()
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }
    [made] = [weight for name, weight in hooks.items() if "-setup-" in name]
    assert hooks["hookbus-secrets"] < made


def test_every_pod_is_hardened(objects: list[dict[str, Any]]) -> None:
    found = pods(objects)
    assert found.keys() >= {*SETTINGS, "setup", *WITH_TOKEN}
    for component, pod in found.items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is (component in WITH_TOKEN)
        assert spec["enableServiceLinks"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == (999 if component == "postgres" else 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
        for volume in spec["volumes"]:
            assert volume.keys() <= {"name", "secret", "emptyDir"}
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


def test_each_mount_has_its_volume(objects: list[dict[str, Any]]) -> None:
    for workload in of_kind(objects, "Deployment", "StatefulSet", "Job").values():
        claims = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])}
        pod = workload["spec"]["template"]
        volumes = {one["name"] for one in pod["spec"]["volumes"]} | claims
        mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert mounted == volumes


def test_every_service_is_probed_spread_and_given_time_to_stop(objects: list[dict[str, Any]]) -> None:
    found = pods(objects)
    for component, settings in SETTINGS.items():
        spec = found[component]["spec"]
        [container] = spec["containers"]
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
        if component != "gateway":
            assert container["startupProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        drain_s = settings.model_fields["drain_timeout_s"].default
        wait_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert spec["terminationGracePeriodSeconds"] > wait_s + drain_s
        keys = {one["topologyKey"] for one in spec["topologySpreadConstraints"]}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_no_other_service_s_absence_takes_a_gateway_out(objects: list[dict[str, Any]]) -> None:
    """Its ``/readyz`` is 503 while one of the others is away, and would take every gateway away at once."""
    [container] = pods(objects)["gateway"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}


@pytest.mark.parametrize(
    ("away", "lets_in"),
    [((), True), (SERVICES, True), (PARTS, False), (None, False)],
)
def test_a_gateway_is_let_in_once_it_has_met_the_bus(
    rendered: dict[str, list[dict[str, Any]]], away: Sequence[str] | None, lets_in: bool
) -> None:
    """Whatever else is away, and so that an upgrade to an address without a bus stops at its first pod."""
    [container] = pods(rendered["default"])["gateway"]["spec"]["containers"]
    command: list[str] = container["startupProbe"]["exec"]["command"]
    [port] = [one["containerPort"] for one in container["ports"]]
    assert str(port) in command[-1]
    with _answering(away) as own_port:
        asked = [sys.executable, *command[1:-1], command[-1].replace(str(port), str(own_port))]
        assert (subprocess.run(asked, capture_output=True, timeout=30, check=False).returncode == 0) is lets_in


@contextmanager
def _answering(away: Sequence[str] | None) -> Generator[int]:
    """The port of a server that answers ``/readyz`` as a gateway with these parts away; of none, for None."""
    checks = {name: "TimeoutError" if name in (away or ()) else "ok" for name in PARTS}

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if away or self.path != "/readyz" else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "unready" if away else "ready", "checks": checks}).encode())

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        if away is None:
            server.server_close()
            yield server.server_port
            return
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_images_are_those_of_the_compose_file(objects: list[dict[str, Any]]) -> None:
    composed = yaml.safe_load(COMPOSE.read_text())["services"]
    images = {one["image"].replace("${HOOKBUS_VERSION:-0.1.0}", "0.1.0") for one in composed.values()}
    used = {container["image"] for pod in pods(objects).values() for container in containers(pod)}
    assert used <= images
    assert {f"hookbus/{name}:0.1.0" for name in ("gateway", "budget", "session", "audit", "jobs")} <= used


def test_a_registry_and_a_tag_are_put_around_the_names(helm: Helm) -> None:
    found = pods(helm.template({"image.prefix": "registry.example/team/", "image.tag": "0.2.0"}))
    assert found["gateway"]["spec"]["containers"][0]["image"] == "registry.example/team/hookbus/gateway:0.2.0"
