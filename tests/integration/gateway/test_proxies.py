"""Where a caller is: what the connection says, and a header only of a proxy that was named."""

from pathlib import Path

from support.gateway_service import GatewayProcess, gateway_process
from support.servers import NatsFixture

FAILURES_MAX = 3
LIMITED = {"HOOKBUS_RATE_LIMIT_FAILURES": f"{FAILURES_MAX}/minute"}


async def statuses(gateway: GatewayProcess, *addresses: str) -> list[int]:
    """The answers to failed authentications that say they come from ``addresses``."""
    async with gateway.client("hbk_nonsense") as client:
        return [
            (await client.get("/api/v1/sessions", headers={"x-forwarded-for": address})).status_code
            for address in addresses
        ]


async def test_nobodys_word_counts_where_no_proxy_is_named(nats_server: NatsFixture, tmp_path: Path) -> None:
    """Whoever guesses keys cannot pass for many: not from this machine, and not by the environment's leave."""
    environment = {**LIMITED, "FORWARDED_ALLOW_IPS": "*"}
    async with gateway_process(nats_server, tmp_path, environment) as gateway:
        said = [f"203.0.113.{number}" for number in range(FAILURES_MAX + 1)]
        assert await statuses(gateway, *said) == [401] * FAILURES_MAX + [429]


async def test_a_named_proxys_word_counts_and_what_a_client_put_before_it_does_not(
    nats_server: NatsFixture, tmp_path: Path
) -> None:
    environment = {**LIMITED, "HOOKBUS_TRUSTED_PROXIES": '["127.0.0.1", "10.0.0.0/8"]'}
    async with gateway_process(nats_server, tmp_path, environment) as gateway:
        apart = [f"203.0.113.{number}" for number in range(FAILURES_MAX + 1)]
        assert await statuses(gateway, *apart) == [401] * (FAILURES_MAX + 1)
        forged = [f"198.51.100.{number}, 192.0.2.7, 10.1.1.1" for number in range(FAILURES_MAX + 1)]
        assert await statuses(gateway, *forged) == [401] * FAILURES_MAX + [429]
