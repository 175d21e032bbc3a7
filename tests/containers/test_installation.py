"""An installation in containers: what it lets in, as whom it runs, who may do what, and what a restart keeps."""

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.commands import hookbus
from support.compose import ComposeStack, composed, docker, needs_containers
from support.events import unique

from hookbus.cli.demo.command import play

SERVICES = ("gateway", "budget", "session", "audit", "signer", "traces", "nats", "postgres")
JOBS = ("secrets", "provision", "migrate", "credentials")
CONNECT_TIMEOUT_S = 3.0
POSTGRES_SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""The first bytes of a client that asks for TLS; any PostgreSQL answers with one letter."""
PROBE = f"""
import socket, sys
def said(host, port, first):
    try:
        with socket.create_connection((host, port), {CONNECT_TIMEOUT_S}) as peer:
            peer.sendall(first)
            return peer.recv(4)
    except OSError:
        return b""
print(said(sys.argv[1], 4222, b"") == b"INFO", said(sys.argv[2], 5432, {POSTGRES_SSL_REQUEST!r}) in (b"S", b"N"))
"""
"""Prints whether at two addresses the bus and the database speak to a stranger. That a connection is made says nothing:
some networks have a proxy that takes every one."""

pytestmark = pytest.mark.timeout(900)


def said(address: str, port: int, first: bytes = b"") -> bytes:
    """What a server answers this machine; nothing where there is no way to it."""
    with suppress(OSError), socket.create_connection((address, port), CONNECT_TIMEOUT_S) as peer:
        peer.settimeout(CONNECT_TIMEOUT_S)
        peer.sendall(first)
        return peer.recv(4)
    return b""


def test_the_demos_scenario_keeps_its_promises(stack: ComposeStack, tmp_path: Path) -> None:
    """The recorded session of ``hookbus demo``, through the published port."""
    assert play(stack.url, stack.folder, tmp_path, started_s=0.0)


def test_only_the_gateway_is_published(stack: ComposeStack) -> None:
    published = {
        service: {port: bound for port, bound in stack.inspect(service)["NetworkSettings"]["Ports"].items() if bound}
        for service in SERVICES
    }
    assert published.pop("gateway") == {"8787/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.ports[0])}]}
    assert not any(published.values())


def test_this_machine_reaches_neither_bus_nor_database(stack: ComposeStack) -> None:
    """Not even by a container's own address; the same look at the gateway's published port finds it."""
    assert said("127.0.0.1", stack.ports[0], b"GET /livez HTTP/1.0\r\n\r\n") == b"HTTP"
    for address in stack.addresses("nats"):
        assert said(address, 4222) != b"INFO"
    for address in stack.addresses("postgres"):
        assert said(address, 5432, POSTGRES_SSL_REQUEST)[:1] not in {b"S", b"N"}


def test_each_network_reaches_what_it_is_for(stack: ComposeStack) -> None:
    """The edge reaches neither bus nor database, the gateway the bus alone, a service both, and none goes out."""
    nats, postgres = stack.addresses("nats")[0], stack.addresses("postgres")[0]
    image = stack.inspect("gateway")["Config"]["Image"]
    code = ("python", "-P", "-c", PROBE, nats, postgres)
    run = ("run", "--rm", "--network", f"{stack.project}_edge", "--entrypoint", code[0], image, *code[1:])
    assert docker(*run).split() == ["False", "False"]
    assert docker("exec", stack.containers("gateway")[0], *code).split() == ["True", "False"]
    assert docker("exec", stack.containers("budget")[0], *code).split() == ["True", "True"]
    assert stack.inspect("signer")["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.parametrize("service", [*SERVICES, *JOBS])
def test_a_container_has_no_more_than_it_needs(stack: ComposeStack, service: str) -> None:
    host: dict[str, Any] = stack.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not host["Privileged"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["RestartPolicy"]["Name"] == ("on-failure" if service in JOBS else "unless-stopped")
    assert bool(host["CapAdd"]) == (service == "postgres"), "which starts as root to give its folder away"


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_that_serves_runs_as_root(stack: ComposeStack, service: str) -> None:
    """Of the processes in the container, the engine's own init apart."""
    rows = docker("top", stack.containers(service)[0], "-eo", "pid,uid,comm").splitlines()[1:]
    users = [row.split()[1] for row in rows if "docker-init" not in row]
    assert users
    assert "0" not in users


def test_no_password_is_a_default_or_shown_to_the_engine(stack: ComposeStack) -> None:
    """Neither in the environment nor on a command line: who may ask the engine learns none. And none is used twice."""
    database = stack.python("budget", "print(open('/secrets/own/hookbus_database_url').read())").split(":")[2]
    bus = stack.python("budget", "print(open('/secrets/own/hookbus_nats_password').read())").strip()
    password = database.split("@")[0]
    assert len({password, bus}) == 2
    assert min(len(password), len(bus)) >= 32
    for service in (*SERVICES, *JOBS):
        seen = json.dumps(stack.inspect(service))
        assert password not in seen
        assert bus not in seen


NATS_PROBE = """
import asyncio, os, sys
import nats
async def main():
    faults = []
    async def noted(error): faults.append(str(error).lower())
    user = os.environ["HOOKBUS_NATS_USER"]
    password = open("/secrets/own/hookbus_nats_password").read()
    client = await nats.connect(os.environ["HOOKBUS_NATS_URL"], user=user, password=password, error_cb=noted,
                                inbox_prefix=f"_INBOX_{user}".encode())
    for subject in sys.argv[1:]:
        faults.clear()
        await client.publish(subject, b"{}")
        await client.flush()
        await asyncio.sleep(0.2)
        print(subject, "refused" if any("permissions violation" in one for one in faults) else "allowed")
    await client.close()
asyncio.run(main())
"""
NATS_STRANGER = """
import asyncio, sys
import nats
async def main():
    try:
        await nats.connect("nats://nats:4222", allow_reconnect=False, connect_timeout=3,
                           **dict(word.split("=") for word in sys.argv[1:]))
        print("in")
    except Exception as error:
        print("refused", error)
asyncio.run(main())
"""


def test_a_services_user_says_on_the_bus_what_its_work_asks_for(stack: ComposeStack) -> None:
    """As the server answers each service's own credentials, from its own container."""
    asked = {
        "gateway": ("hooks.prompt.x", "deadletter.gateway", "$JS.API.STREAM.DELETE.HOOKS", "$KV.revocations.x"),
        "budget": ("deadletter.budget", "hooks.prompt.x", "rpc.session.login", "$JS.API.STREAM.PURGE.HOOKS"),
        "audit": ("deadletter.audit", "deadletter.budget", "hooks.prompt.x", "rpc.budget.check"),
    }
    for service, tried in asked.items():
        printed = docker("exec", stack.containers(service)[0], "python", "-P", "-c", NATS_PROBE, *tried)
        answers = dict(line.split() for line in printed.splitlines())
        assert answers == {one: "allowed" if one == tried[0] else "refused" for one in tried}, service


def test_the_bus_lets_no_stranger_in(stack: ComposeStack) -> None:
    for words in ((), ("user=gateway", "password=guess")):
        printed = docker("exec", stack.containers("budget")[0], "python", "-P", "-c", NATS_STRANGER, *words)
        assert printed.startswith("refused"), printed


def test_a_role_of_the_database_has_its_own_schema_and_the_log_is_only_added_to(stack: ComposeStack) -> None:
    """One login role for each schema, none a superuser; the audit role neither changes nor deletes entries."""
    roles = ("hookbus_audit", "hookbus_budget", "hookbus_session", "hookbus_traces")
    flags = "rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls"
    rows = stack.sql(f"select rolname, {flags} from pg_roles where rolcanlogin and rolname like 'hookbus%' order by 1")
    assert rows == [[role, "f"] for role in sorted((*roles, "hookbus_owner"))]
    for role in roles:
        schemas = ("audit", "budget", "session", "traces")
        usage = stack.sql("select " + ", ".join(f"has_schema_privilege('{role}', '{one}', 'USAGE')" for one in schemas))
        assert usage == [["t" if role == f"hookbus_{one}" else "f" for one in schemas]]
    asked = ("INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE")
    entries = ", ".join(f"has_table_privilege('hookbus_audit', 'audit.stored_events', '{one}')" for one in asked)
    assert stack.sql(f"select {entries}") == [["t", "t", "f", "f", "f"]]


HASHES = """
import hashlib, pathlib
for path in pathlib.Path("/volume").rglob("*"):
    # But for the signer's note of its last signature.
    if path.is_file() and path.suffix != ".last":
        print(path, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def volumes_of(stack: ComposeStack) -> dict[str, dict[str, str]]:
    """Each secret file's hash, by volume."""
    found: dict[str, dict[str, str]] = {}
    names = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={stack.project}").split()
    for name in names:
        if "secrets" in name or name.endswith("_credentials"):
            run = ("run", "--rm", "--network", "none", "--user", "0", "--volume", f"{name}:/volume:ro")
            printed = docker(*run, "--entrypoint", "python", stack.inspect("gateway")["Config"]["Image"], "-c", HASHES)
            found[name] = dict(line.split() for line in printed.splitlines())
    return found


def left_of(project: str) -> str:
    """Containers, networks and volumes that bear the project's label."""
    label = f"label=com.docker.compose.project={project}"
    return "".join(
        docker(*words, "--quiet", "--filter", label) for words in (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
    )


def test_a_restart_keeps_everything_and_a_removal_nothing() -> None:
    """``down`` and ``up``: the same secrets, budgets and log. ``down --volumes``: no container, network or volume."""
    needs_containers()
    with composed() as stack:
        agent = unique("agent")
        limit = {"limits": [{"unit": "tokens", "window": "total", "amount": "500"}]}
        set_up = httpx.post(f"{stack.url}/api/v1/budget/init/{agent}", json=limit, headers=stack.headers)
        assert set_up.status_code == 201
        emitted = hookbus(stack, "emit", "usage", "--agent", agent, "--data", '{"tokens_used": 100, "cost": "0.01"}')
        assert emitted.code == 0, emitted.err
        verified = hookbus(stack, "audit", "verify", "--json").json()
        secrets = volumes_of(stack)
        assert sum(map(len, secrets.values())) > 15
        stack.down()
        stack.up()
        assert volumes_of(stack) == secrets
        again = hookbus(stack, "audit", "verify", "--json").json()
        assert again["ok"]
        assert again["size"] >= verified["size"]
        limits = httpx.get(f"{stack.url}/api/v1/budget/status/{agent}", headers=stack.headers).json()["remaining"]
        assert [(one["amount"], one["spent"]) for one in limits] == [("500", "100")]
        project = stack.project
        assert left_of(project)
    assert left_of(project) == ""
