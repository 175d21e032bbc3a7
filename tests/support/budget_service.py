"""The budget service on real servers: its parts, and the whole of it on the bus."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import SecretStr

from hookbus.budget.admin import Administration
from hookbus.budget.directory import Directory
from hookbus.budget.queries import Queries
from hookbus.budget.settings import BudgetSettings
from hookbus.budget.transaction import LedgerTransaction
from hookbus.budget.windows import Calendar
from hookbus.budget.writer import LedgerWriter
from hookbus.contracts.fields import WireModel
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.database.engine import Database
from support.servers import NatsFixture, PostgresFixture

ReplyT = TypeVar("ReplyT", bound=WireModel)


def settings_for(postgres: PostgresFixture, nats: NatsFixture | None = None, user: str = "budget") -> BudgetSettings:
    """Settings of the service, or of a client of another user."""
    return BudgetSettings(
        nats_url=nats.url if nats else "nats://127.0.0.1:1",
        nats_user=user,
        nats_password=SecretStr(nats.password(user) if nats else "unused"),
        http_port=0,
        database_url=SecretStr(postgres.database_url("budget")),
    )


@dataclass
class Parts:
    """The service's parts without the bus; ``superuser`` sees the tables as they are."""

    database: Database
    directory: Directory
    calendar: Calendar
    writer: LedgerWriter
    queries: Queries
    administration: Administration
    settings: BudgetSettings

    @classmethod
    def of(cls, settings: BudgetSettings) -> "Parts":
        database = Database("budget", settings)
        calendar = Calendar(settings.zone)
        directory = Directory(settings.default_rules)
        administration = Administration(database, calendar, settings.default_rules)
        writer = LedgerWriter(
            database, LedgerTransaction(directory, calendar, subagents_max=settings.budget_subagents_per_session_max)
        )
        queries = Queries(database, directory, calendar, administration)
        return cls(database, directory, calendar, writer, queries, administration, settings)

    async def close(self) -> None:
        await self.writer.close()
        await self.database.close()


@dataclass
class Bus:
    """The gateway's side of the bus, with a budget service answering on it."""

    client: RpcClient
    publisher: Publisher

    async def call(self, method: str, request: WireModel, reply: type[ReplyT]) -> ReplyT:
        return await self.client.call("budget", method, request, reply, timeout_s=10.0)
