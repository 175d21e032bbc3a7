"""Wiring of the budget service: the one place where its parts meet."""

import gc
import sys
from typing import Final

from hookbus.budget.admin import Administration
from hookbus.budget.directory import Directory
from hookbus.budget.events import EventHandler
from hookbus.budget.handlers import OperationHandlers
from hookbus.budget.keeper import Keeper
from hookbus.budget.pricing import PriceList, load_price_list
from hookbus.budget.queries import Queries
from hookbus.budget.reports import Reports
from hookbus.budget.settings import BudgetSettings
from hookbus.budget.transaction import LedgerTransaction
from hookbus.budget.windows import Calendar
from hookbus.budget.writer import LedgerWriter
from hookbus.contracts.budget import (
    DeductRequest,
    DriftRequest,
    ExtendRequest,
    HistoryRequest,
    InitRequest,
    ListRequest,
    ProjectsRequest,
    ReleaseRequest,
    ReserveManyRequest,
    ReserveRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeRequest,
)
from hookbus.platform.bus.checks import bus_check, consumer_check
from hookbus.platform.bus.connection import create_broker
from hookbus.platform.bus.consumer import subscribe_batches
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.platform.bus.streams import BUDGET_HOOKS
from hookbus.platform.database.engine import Database, is_transient
from hookbus.platform.health import Check
from hookbus.platform.service import Service, run
from hookbus.platform.settings import EXIT_CODE_BAD_SETTINGS, load

NAME = "budget"
GC_OBJECTS_MIN: Final = 50_000
"""New objects before the collector looks for cycles among them. What a request makes is free again when it is answered;
at the default of 700 the search took a tenth of the time."""


def build(settings: BudgetSettings, prices: PriceList) -> Service:
    """The service, not yet running."""
    broker = create_broker(NAME, settings)
    database = Database(NAME, settings)
    calendar = Calendar(settings.zone)
    directory = Directory(settings.default_rules)
    writer = LedgerWriter(
        database, LedgerTransaction(directory, calendar, subagents_max=settings.budget_subagents_per_session_max)
    )
    queries = Queries(database, directory, calendar, Administration(database, calendar, settings.default_rules))
    reports = Reports(database)
    operations = OperationHandlers(writer, queries, prices)
    keeper = Keeper(database, writer, Publisher(broker))

    server = DirectRpcServer(broker, NAME, may_pass=is_transient)
    server.method("init", InitRequest, queries.init)
    server.method("scope_init", ScopeInitRequest, queries.scope_init)
    server.method("status", ScopeRequest, queries.status)
    server.method("list", ListRequest, queries.list_accounts)
    server.method("history", HistoryRequest, queries.history)
    server.method("reset", ResetRequest, queries.reset)
    server.method("projects", ProjectsRequest, reports.projects)
    server.method("drift", DriftRequest, reports.drift)
    server.method("check", ReserveRequest, operations.check_text)
    server.method_many("check", ReserveManyRequest, operations.check_many)
    server.method("reserve", ReserveRequest, operations.check_text)
    server.method("deduct", DeductRequest, operations.deduct_text)
    server.method("release", ReleaseRequest, operations.release)
    server.method("extend", ExtendRequest, operations.extend)
    subscribe_batches(broker, BUDGET_HOOKS, EventHandler(writer, prices).handle)
    return Service(
        name=NAME,
        broker=broker,
        checks=(bus_check(broker), consumer_check(broker, BUDGET_HOOKS), Check("postgres", database.ping)),
        on_start=(server.start, _collect_seldom),
        on_stop=(database.close, writer.close),
        tasks=(keeper.sweep, keeper.purge, keeper.relay, keeper.measure),
    )


async def _collect_seldom() -> None:
    gc.set_threshold(GC_OBJECTS_MIN)


def main() -> None:
    """Run until SIGTERM."""
    settings = load(BudgetSettings)
    try:
        prices = load_price_list(settings.budget_prices_file)
    except (OSError, ValueError) as error:
        print(f"hookbus: setting HOOKBUS_BUDGET_PRICES_FILE: {error}", file=sys.stderr)  # noqa: T201 - no logger yet
        raise SystemExit(EXIT_CODE_BAD_SETTINGS) from None
    run(NAME, settings, lambda: build(settings, prices))
