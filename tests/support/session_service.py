"""The session service's surroundings in tests."""

from dataclasses import dataclass

from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.database.engine import Database
from hookbus.session.settings import SessionSettings
from support.servers import NatsFixture, PostgresFixture

TOKEN_PASSPHRASE = "a passphrase for tests, and no other"


@dataclass
class SessionStack:
    """The service's servers and a gateway's way to call it."""

    nats: NatsFixture
    postgres: PostgresFixture
    settings: SessionSettings
    rpc: RpcClient
    database: Database


def session_settings(nats: NatsFixture, postgres: PostgresFixture) -> SessionSettings:
    return SessionSettings.model_validate(
        {
            "nats_url": nats.url,
            "nats_user": "session",
            "nats_password": nats.password("session"),
            "http_port": 0,
            "database_url": postgres.database_url("session"),
            "token_passphrase": TOKEN_PASSPHRASE,
        }
    )
