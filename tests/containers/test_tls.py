"""TLS between the parts: everything speaks it, verifies whom it speaks to, and lets nobody in who does not."""

import json

import pytest
from support.compose import ComposeStack, docker

SERVICES = ("gateway", "budget", "session", "audit")
SERVERS = ("nats", "nats-2", "nats-3")
NATS_CLIENT = """
import asyncio, ssl, sys
import nats
def context(ca):
    return None if ca == "none" else ssl.create_default_context(cafile=None if ca == "system" else ca)
async def main(host, ca):
    password = open("/secrets/own/hookbus_nats_password").read()
    try:
        client = await nats.connect(f"nats://{host}:4222", user="budget", password=password, allow_reconnect=False,
                                    inbox_prefix=b"_INBOX_budget", connect_timeout=5, tls=context(ca),
                                    tls_handshake_first=ca != "none")
        await client.close()
        print("in")
    except Exception as error:
        print("refused", type(error).__name__, error)
asyncio.run(main(*sys.argv[1:]))
"""
POSTGRES_CLIENT = """
import asyncio, os, sys
import asyncpg
async def main(host, mode, ca):
    os.environ["PGSSLMODE"], os.environ["PGSSLROOTCERT"] = mode, ca
    url = open("/secrets/own/hookbus_database_url").read().replace("@postgres:", f"@{host}:")
    try:
        connection = await asyncpg.connect(url, timeout=10)
        await connection.close()
        print("in")
    except Exception as error:
        print("refused", type(error).__name__, error)
asyncio.run(main(*sys.argv[1:]))
"""
MODES = """
import pathlib
for path in pathlib.Path("/secrets").rglob("*"):
    if path.is_file():
        print(path.name, oct(path.stat().st_mode & 0o777))
"""
OWN_AUTHORITY = "/secrets/own/ca.pem"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def answer(stack: ComposeStack, code: str, *words: str) -> str:
    """What a client in the budget service's container, with its credentials, comes to."""
    return docker("exec", stack.containers("budget")[0], "python", "-P", "-c", code, *words).strip()


@pytest.mark.parametrize("server", SERVERS)
def test_the_bus_speaks_to_those_who_verify_it_alone(cluster: ComposeStack, server: str) -> None:
    """With the right password: in with the installation's authority, and by the certificate's name."""
    assert answer(cluster, NATS_CLIENT, server, OWN_AUTHORITY) == "in"
    assert answer(cluster, NATS_CLIENT, server, "none").startswith("refused")
    assert "CERTIFICATE_VERIFY_FAILED" in answer(cluster, NATS_CLIENT, server, "system")
    assert "CERTIFICATE_VERIFY_FAILED" in answer(cluster, NATS_CLIENT, cluster.addresses(server)[0], OWN_AUTHORITY)


def test_the_database_speaks_to_those_who_verify_it_alone(cluster: ComposeStack) -> None:
    assert answer(cluster, POSTGRES_CLIENT, "postgres", "verify-full", OWN_AUTHORITY) == "in"
    plain = answer(cluster, POSTGRES_CLIENT, "postgres", "disable", OWN_AUTHORITY)
    assert "pg_hba.conf rejects connection" in plain
    address = cluster.addresses("postgres")[0]
    assert "CERTIFICATE_VERIFY_FAILED" in answer(cluster, POSTGRES_CLIENT, address, "verify-full", OWN_AUTHORITY)


def test_every_connection_there_is_is_encrypted(cluster: ComposeStack) -> None:
    """As the servers see them: services at the database, services at each server of the bus, the servers' routes."""
    sessions = "from pg_stat_ssl s join pg_stat_activity a using (pid) where a.usename like 'hookbus%' group by 1"
    rows = cluster.sql(f"select s.version, count(*) {sessions}")
    assert [row[0] for row in rows] == ["TLSv1.3"]
    seen: set[str] = set()
    for server in SERVERS:
        container = cluster.containers(server)[0]
        page = docker("exec", container, "wget", "-q", "-O", "-", "http://127.0.0.1:8222/connz?auth=true")
        clients = json.loads(page)["connections"]
        assert all(client["tls_version"] == "1.3" for client in clients)
        seen |= {client["authorized_user"] for client in clients}
        routes = json.loads(docker("exec", container, "wget", "-q", "-O", "-", "http://127.0.0.1:8222/varz"))
        assert routes["cluster"]["tls_required"]
        assert routes["cluster"]["tls_verify"]
    assert seen >= set(SERVICES)


def test_no_secret_of_the_certificates_is_anybody_elses(cluster: ComposeStack) -> None:
    """Mode 0600, the servers' keys with the servers, the authority's key with the jobs."""
    for service in SERVICES:
        files = dict(line.split() for line in cluster.python(service, MODES).splitlines())
        assert "ca.pem" in files
        assert not {"ca.key", "server.key"} & set(files)
        assert set(files.values()) == {"0o600"}
