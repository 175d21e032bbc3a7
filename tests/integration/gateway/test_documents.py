"""The API's own documents, the open endpoints, CORS, and the headers that depend on the environment."""

import re
from pathlib import Path

from openapi_spec_validator import validate
from support.gateway_service import GatewayProcess, gateway_process
from support.servers import NatsFixture


async def test_open_endpoints(gateway: GatewayProcess) -> None:
    """They need no key."""
    async with gateway.client(None) as client:
        for path in (
            "/livez",
            "/readyz",
            "/metrics",
            "/docs",
            "/openapi.json",
            "/asyncapi.json",
            "/api/v1/budget/health",
        ):
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert answer.headers["traceparent"].startswith("00-")
        ready = (await client.get("/readyz")).json()
        assert ready["checks"] == {"nats": "ok", "budget": "ok", "session": "ok", "audit": "ok"}
        await client.post("/api/v1/hooks/generic")
        metrics = (await client.get("/metrics")).text
        for route in ("/livez", "/docs", "/api/v1/budget/health", "/api/v1/hooks/{agent}"):
            assert f'route="{route}"' in metrics
        assert "agent-" not in metrics


async def test_openapi(gateway: GatewayProcess) -> None:
    """A valid 3.1 document in which every guarded operation names its scope and its problems."""
    async with gateway.client(None) as client:
        document = (await client.get("/openapi.json")).json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    open_paths = {"/livez", "/readyz", "/metrics", "/asyncapi.json", "/api/v1/budget/health"}
    open_paths |= {"/api/v1/session/login", "/api/v1/session/refresh", "/.well-known/jwks.json"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in open_paths:
                assert "security" not in operation
            else:
                assert operation["security"] == [{"apiKey": []}]
                assert operation["x-hookbus-scope"]
                assert {"401", "403", "429", "503"} <= set(operation["responses"])
    content = document["paths"]["/api/v1/events"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}


async def test_docs_load_nothing_from_elsewhere(gateway: GatewayProcess) -> None:
    """Every file of the page is this server's, and the page's policy allows no other."""
    async with gateway.client(None) as client:
        page = await client.get("/docs")
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(addresses) == 4
        for address in addresses:
            assert address.startswith("/docs/assets/")
            asset = await client.get(address)
            assert asset.status_code == 200
            assert asset.content
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "<script>" not in page.text


async def test_asyncapi(gateway: GatewayProcess) -> None:
    async with gateway.client(None) as client:
        document = (await client.get("/asyncapi.json")).json()
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["hooks"]["address"] == "hooks.{kind}.{agent_id}"
    assert document["channels"]["budget.check"]["address"] == "rpc.budget.check"
    names = set(document["components"]["messages"])
    for channel in document["channels"].values():
        assert {entry["$ref"].rsplit("/", 1)[1] for entry in channel["messages"].values()} <= names
    schemas = document["components"]["schemas"]
    for message in document["components"]["messages"].values():
        assert message["payload"]["$ref"].rsplit("/", 1)[1] in schemas


async def test_cors_in_development_knows_this_machine_only(gateway: GatewayProcess) -> None:
    async with gateway.client(None) as client:
        local = await client.get("/livez", headers={"origin": "http://localhost:3000"})
        foreign = await client.get("/livez", headers={"origin": "https://evil.example"})
        almost = await client.get("/livez", headers={"origin": "http://localhost.evil.example"})
    assert local.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-origin" not in almost.headers
    assert "strict-transport-security" not in local.headers


async def test_production(nats_server: NatsFixture, tmp_path: Path) -> None:
    """CORS by an explicit list; HSTS."""
    environment = {"HOOKBUS_ENV": "production", "HOOKBUS_CORS_ORIGINS": '["https://ops.example"]'}
    async with (
        gateway_process(nats_server, tmp_path / "gateway", environment) as gateway,
        gateway.client(None) as client,
    ):
        listed = await client.get("/livez", headers={"origin": "https://ops.example"})
        local = await client.get("/livez", headers={"origin": "http://localhost:3000"})
        preflight = await client.options(
            "/api/v1/events",
            headers={"origin": "https://ops.example", "access-control-request-method": "POST"},
        )
    assert listed.headers["access-control-allow-origin"] == "https://ops.example"
    assert "max-age=" in listed.headers["strict-transport-security"]
    assert "access-control-allow-origin" not in local.headers
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-methods"] == "GET, POST, DELETE"
