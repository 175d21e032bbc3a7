"""The one place that wires the audit service."""

import sys
from typing import Final

from hookbus.audit import metrics
from hookbus.audit.handlers import EventHandlers, may_pass
from hookbus.audit.log import Log
from hookbus.audit.pruning import Pruning
from hookbus.audit.reads import ReadRecorder
from hookbus.audit.requests.administering import AdministrationRequests
from hookbus.audit.requests.checking import CheckingRequests
from hookbus.audit.requests.exporting import ExportRequests
from hookbus.audit.requests.proving import ProvingRequests
from hookbus.audit.requests.reading import ReadingRequests
from hookbus.audit.retention import retain_forever
from hookbus.audit.settings import AuditSettings, prepare_secrets
from hookbus.audit.signing.files import KeyFileError
from hookbus.platform.bus.checks import bus_check, consumer_check
from hookbus.platform.bus.connection import create_broker
from hookbus.platform.bus.consumer import batch_loop
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.rpc import RpcServer
from hookbus.platform.bus.streams import AUDIT_HOOKS, AUDIT_SECURITY
from hookbus.platform.database.engine import Database, is_transient
from hookbus.platform.health import Check
from hookbus.platform.service import Service, run
from hookbus.platform.settings import EXIT_CODE_BAD_SETTINGS, load

SERVICE = "audit"
BATCHES_UNDER_WAY_MAX: Final = 4
"""Pulls of hook events handed to the sequencer before the oldest is committed; within the consumer's ack bound."""


def build(settings: AuditSettings) -> Service:
    """The service, wired and not yet connected."""
    broker = create_broker(SERVICE, settings)
    database = Database(SERVICE, settings)
    log = Log(settings, database)
    events = EventHandlers(log)
    loops = (
        # The sequencer takes batches in the order in which they come, and joins those that wait into one commit.
        batch_loop(broker, AUDIT_HOOKS, events.hooks, may_pass=may_pass, batches_under_way_max=BATCHES_UNDER_WAY_MAX),
        batch_loop(broker, AUDIT_SECURITY, events.security, may_pass=may_pass),
    )
    metrics.watch(log)
    server = RpcServer(broker, SERVICE, may_pass=is_transient)
    ReadingRequests(database, log, ReadRecorder(Publisher(broker))).register(server)
    CheckingRequests(database, log, settings.database_url.get_secret_value()).register(server)
    ExportRequests(log).register(server)
    ProvingRequests(database, log).register(server)
    pruning = Pruning(database)
    AdministrationRequests(database, log, pruning).register(server)

    async def signing() -> None:
        refused = log.opened.publisher.refused
        if refused is not None:
            raise RuntimeError(refused)

    async def append() -> None:
        await log.lead_forever(loops)

    async def retain() -> None:
        if settings.audit_retention_days is not None:
            await retain_forever(log, pruning, settings.audit_retention_days)

    return Service(
        SERVICE,
        broker,
        checks=(
            bus_check(broker),
            consumer_check(broker, AUDIT_HOOKS),
            consumer_check(broker, AUDIT_SECURITY),
            Check("postgres", database.ping),
            Check("signer", signing),
        ),
        on_start=(log.open_at_start,),
        on_stop=(database.close, log.close),
        tasks=(append,) if settings.audit_retention_days is None else (append, retain),
    )


def main() -> None:
    """Run until SIGTERM."""
    settings = load(AuditSettings)
    try:
        prepare_secrets(settings)
    except (FileNotFoundError, KeyFileError) as error:
        print(f"hookbus: {error}", file=sys.stderr)  # noqa: T201 - no logger yet
        raise SystemExit(EXIT_CODE_BAD_SETTINGS) from None
    run(SERVICE, settings, lambda: build(settings))
