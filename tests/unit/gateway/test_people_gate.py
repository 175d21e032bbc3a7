"""Who must deal with their password before anything else works, and what is told of a client."""

from datetime import UTC, datetime

import pytest
from starlette.requests import HTTPConnection

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.auth import check_settled
from hookbus.gateway.clients import client_address, client_facts, client_network
from hookbus.gateway.settings import GatewaySettings
from hookbus.gateway.tokens import TokenHolder


def holder(*, must_change: bool = False, confirm: bool = False) -> TokenHolder:
    return TokenHolder(
        "ann",
        "person-1",
        frozenset(),
        must_change_password=must_change,
        confirm_required=confirm,
        epoch=1,
        expires_at=datetime.now(UTC),
    )


def connection(address: str | None, *headers: tuple[str, str], kind: str = "http") -> HTTPConnection:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return HTTPConnection({"type": kind, "client": None if address is None else (address, 1), "headers": raw})


def test_a_settled_person_passes_and_others_are_told_what_to_do() -> None:
    check_settled(holder())
    for one, code in (
        (holder(must_change=True), ProblemCode.FORBIDDEN),
        (holder(confirm=True), ProblemCode.CONFIRM_REQUIRED),
        (holder(must_change=True, confirm=True), ProblemCode.FORBIDDEN),
    ):
        with pytest.raises(ProblemError) as caught:
            check_settled(one)
        assert caught.value.problem.code is code


@pytest.mark.parametrize(
    ("peer", "address", "network"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::/48"),
        ("a unix socket", "unknown", None),
        (None, "unknown", None),
    ],
)
def test_where_a_caller_is(peer: str | None, address: str, network: str | None) -> None:
    caller = connection(peer, ("x-forwarded-for", "203.0.113.1"))
    assert client_address(caller) == address
    assert client_network(caller) == network


def test_a_client_is_told_by_its_headers_names_in_order_and_by_no_secret() -> None:
    caller = connection(
        "192.0.2.7",
        ("host", "hookbus"),
        ("user-agent", "x" * 1_000),
        ("authorization", "Bearer secret"),
        ("accept", "*/*"),
        ("x-invented", "y"),
        ("accept", "again"),
        ("accept-language", "de"),
    )
    facts = client_facts(caller)
    assert facts.header_names == ("user-agent", "accept", "accept-language")
    assert len(facts.user_agent) == 256
    assert "secret" not in facts.model_dump_json()
    assert client_facts(connection("192.0.2.7", ("accept", "*/*"), kind="websocket")).header_names == ()


@pytest.mark.parametrize("proxy", ["0.0.0.0/0", "::/0", "*", "a.host.name", "10.0.0.1/8"])
def test_everybody_is_no_proxy_and_a_proxy_is_an_address(proxy: str) -> None:
    settings = {"nats_url": "nats://x", "nats_user": "u", "nats_password": "p", "http_port": 0}
    with pytest.raises(ValueError, match="1 validation error for GatewaySettings"):
        GatewaySettings.model_validate({**settings, "trusted_proxies": (proxy,)})
    named = GatewaySettings.model_validate({**settings, "trusted_proxies": ("10.0.0.0/8", "192.0.2.1")})
    assert named.trusted_proxies == ("10.0.0.0/8", "192.0.2.1")
