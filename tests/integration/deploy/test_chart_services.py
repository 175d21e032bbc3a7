"""The chart against what it runs: every setting, secret, port and selector it names is one that exists."""

import json
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]  # it has none
import pytest
from support.chart import SETTINGS, WITH_TOKEN, containers, covers, environment, of_kind, pods, setting_names
from support.helm import Helm

from hookbus.jobs import kubernetes, secrets
from hookbus.platform.database.provision import connections_per_role
from hookbus.platform.settings import SECRETS_DIR_VARIABLE, DatabaseSettings

KUBERNETES_VERSION: Final = "1.30"
JOB_CONNECTIONS: Final = 2
SUPERUSER_CONNECTIONS: Final = 3
"""Those that PostgreSQL keeps back by itself."""


def test_every_setting_exists_in_the_service_that_is_given_it(objects: list[dict[str, Any]]) -> None:
    found = pods(objects)
    for component, settings in SETTINGS.items():
        [container] = found[component]["spec"]["containers"]
        given = environment(container)
        assert given.keys() <= setting_names(settings) | {SECRETS_DIR_VARIABLE}, component
        assert given["HOOKBUS_NATS_USER"] == component
        assert given["HOOKBUS_ENV"] == "production"
    for component in ("setup", "secrets", "credentials"):
        for container in containers(found[component]):
            assert environment(container).keys() <= setting_names(kubernetes.KubernetesSettings)


def test_the_settings_of_the_values_reach_the_service_and_go_before_the_chart_s(
    helm: Helm, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    [container] = pods(rendered["full"])["gateway"]["spec"]["containers"]
    assert environment(container)["HOOKBUS_GUARD_MODE"] == "strict"
    louder = pods(helm.template({"budget.env": {"HOOKBUS_LOG_LEVEL": "DEBUG"}}))
    assert environment(louder["budget"]["spec"]["containers"][0])["HOOKBUS_LOG_LEVEL"] == "DEBUG"
    assert environment(louder["session"]["spec"]["containers"][0])["HOOKBUS_LOG_LEVEL"] == "INFO"


@pytest.mark.parametrize("component", list(SETTINGS))
def test_a_file_that_a_setting_names_can_be_mounted_into_its_service(helm: Helm, component: str) -> None:
    volume = {"name": "given", "configMap": {"name": "given-files"}}
    mount = {"name": "given", "mountPath": "/given", "readOnly": True}
    objects = helm.template({f"{component}.extraVolumes": [volume], f"{component}.extraVolumeMounts": [mount]})
    kubernetes_validate.validate(
        of_kind(objects, "Deployment", "StatefulSet")[f"hookbus-{component}"], KUBERNETES_VERSION, strict=True
    )
    for name, pod in pods(objects).items():
        assert (volume in pod["spec"]["volumes"]) is (name == component)
        with_it = {one["name"] for one in containers(pod) if mount in one["volumeMounts"]}
        assert with_it == ({component} if name == component else set())


def test_as_many_processes_as_the_chart_starts_find_a_connection_to_the_database(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    """Each opens a whole pool, one more while pods are replaced; the server and each role have room for all of them."""
    objects = rendered["full"]
    [server] = pods(objects)["postgres"]["spec"]["containers"]
    [connections_max] = [int(word.partition("=")[2]) for word in server["args"] if word.startswith("max_connections=")]
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    opened: dict[str, int] = {}
    for component, settings in SETTINGS.items():
        if not issubclass(settings, DatabaseSettings):
            continue
        scaler = scalers.get(f"hookbus-{component}")
        processes = 1 if scaler is None else scaler["spec"]["maxReplicas"]
        surge = 0 if component == "audit" else 1
        opened[component] = (processes + surge) * settings.model_fields["database_pool_size_max"].default
    assert opened.keys() == {"budget", "session", "audit", "traces"}
    assert max(opened.values()) <= connections_per_role(connections_max)
    assert sum(opened.values()) + JOB_CONNECTIONS + SUPERUSER_CONNECTIONS <= connections_max


def test_every_secret_that_is_mounted_is_one_the_job_makes_and_each_pod_mounts_its_own(
    objects: list[dict[str, Any]],
) -> None:
    for component, pod in pods(objects).items():
        names = {one["secret"]["secretName"] for one in pod["spec"]["volumes"] if "secret" in one}
        made = {f"hookbus-{process}" for process in kubernetes.PROCESSES}
        assert names <= made
        own = {"audit": {"audit", "signer"}, "setup": {"jobs", "postgres"}}.get(component, {component})
        assert names == (set() if component in WITH_TOKEN else {f"hookbus-{name}" for name in own})


def test_the_signer_s_key_is_mounted_into_the_signer_alone(objects: list[dict[str, Any]]) -> None:
    audit = pods(objects)["audit"]
    places = {
        container["name"]: {(mount["name"], mount.get("subPath")) for mount in container["volumeMounts"]}
        for container in containers(audit)
    }
    assert ("signing", "signer") in places["signer"]
    assert ("signing", "signer") not in places["audit"]
    assert not {("secrets", None), ("signing", "audit"), ("keys", None)} & places["signer"]
    [service] = audit["spec"]["containers"]
    socket = environment(service)["HOOKBUS_AUDIT_SIGNER_SOCKET"]
    [signer] = [one for one in containers(audit) if one["name"] == "signer"]
    assert socket in signer["command"]
    assert signer["restartPolicy"] == "Always"


def test_the_jobs_may_touch_their_secrets_by_name_and_nothing_else(objects: list[dict[str, Any]]) -> None:
    roles = of_kind(objects, "Role")
    for job, processes in {"secrets": kubernetes.PROCESSES, "credentials": ("jobs", kubernetes.CREDENTIALS)}.items():
        make, use = roles[f"hookbus-{job}"]["rules"]
        assert (make["resources"], make["verbs"]) == (["secrets"], ["create"])
        assert (use["resources"], use["verbs"]) == (["secrets"], ["get", "update"])
        assert set(use["resourceNames"]) == {f"hookbus-{process}" for process in processes}
        pod = pods(objects)[job]
        assert pod["spec"]["serviceAccountName"] == f"hookbus-{job}"
        assert environment(pod["spec"]["containers"][0])["HOOKBUS_KUBERNETES_SECRET_PREFIX"] == "hookbus"
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")


@pytest.mark.parametrize(("variant", "replicas"), [("default", 3), ("one node", 1)])
def test_the_bus_s_servers_start_with_the_configurations_that_the_job_writes(
    rendered: dict[str, list[dict[str, Any]]],
    variant: str,
    replicas: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objects = rendered[variant]
    [job] = pods(objects)["secrets"]["spec"]["containers"]
    given = environment(job)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOOKBUS_SECRETS_ROOT", str(tmp_path))
    secrets.run(kubernetes.KubernetesSettings())
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "nats").iterdir()}

    servers = of_kind(objects, "StatefulSet")["hookbus-nats"]["spec"]
    assert servers["replicas"] == replicas
    [container] = servers["template"]["spec"]["containers"]
    read = [container["args"][1].replace("$(POD_NAME)", f"hookbus-nats-{index}") for index in range(replicas)]
    assert {path.rsplit("/", 1)[1] for path in read} == written.keys()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for config in written.values():
        assert config["listen"] == f"0.0.0.0:{ports['client']}"
        assert config["http"] == f"0.0.0.0:{ports['monitor']}"
        assert ("cluster" in config) is (replicas > 1)
        assert config["jetstream"]["store_dir"].startswith("/data/")
    assert given["HOOKBUS_NATS_REPLICAS"] == str(replicas)
    [gateway] = pods(objects)["gateway"]["spec"]["containers"]
    hosts = [config.removesuffix(".conf") for config in sorted(written)]
    assert environment(gateway)["HOOKBUS_NATS_URL"].split(",") == [f"nats://{host}:4222" for host in hosts]


def test_each_service_selects_its_pods_and_names_a_port_they_have(objects: list[dict[str, Any]]) -> None:
    found = pods(objects)
    services = of_kind(objects, "Service")
    assert services
    for name, service in services.items():
        meets = {
            component
            for component, pod in found.items()
            if covers(service["spec"]["selector"], pod["metadata"]["labels"])
        }
        assert meets == {name.removeprefix("hookbus-")}
        ports = {
            port["name"]: port["containerPort"]
            for container in found[meets.pop()]["spec"]["containers"]
            for port in container["ports"]
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_each_workload_selects_its_own_pods(objects: list[dict[str, Any]]) -> None:
    found = pods(objects)
    for name, workload in of_kind(objects, "Deployment", "StatefulSet").items():
        selector = workload["spec"]["selector"]["matchLabels"]
        assert {c for c, pod in found.items() if covers(selector, pod["metadata"]["labels"])} == {
            name.removeprefix("hookbus-")
        }


def test_disruption_budgets_leave_a_drain_possible(objects: list[dict[str, Any]]) -> None:
    workloads = of_kind(objects, "Deployment", "StatefulSet")
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert budgets.keys() >= {"hookbus-gateway", "hookbus-budget", "hookbus-session"}
    for name, budget in budgets.items():
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["selector"]["matchLabels"] == workloads[name]["spec"]["selector"]["matchLabels"]


def test_consumers_scale_by_their_lag_and_the_scaler_owns_the_number(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    scalers = of_kind(rendered["full"], "HorizontalPodAutoscaler")
    workloads = of_kind(rendered["full"], "Deployment")
    assert scalers.keys() == {"hookbus-gateway", "hookbus-budget", "hookbus-session"}
    for name, scaler in scalers.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in workloads[name]["spec"]
        external = [one["external"] for one in scaler["spec"]["metrics"] if one["type"] == "External"]
        if name != "hookbus-gateway":
            assert external[0]["metric"]["name"] == "hookbus_consumer_lag_events"
            assert external[0]["metric"]["selector"]["matchLabels"] == {"service": name.removeprefix("hookbus-")}
    assert not of_kind(rendered["default"], "HorizontalPodAutoscaler")
