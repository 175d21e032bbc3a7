"""The one place that wires the session service."""

from hookbus.platform.bus.checks import bus_check, consumer_check
from hookbus.platform.bus.connection import create_broker
from hookbus.platform.bus.consumer import subscribe_batches
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.platform.bus.streams import SESSION_HOOKS, SESSION_SECURITY
from hookbus.platform.database.engine import Database, is_transient
from hookbus.platform.health import Check
from hookbus.platform.service import Service, run
from hookbus.platform.settings import load
from hookbus.session.agent_requests import AgentRequests
from hookbus.session.forgetting import Forgetting
from hookbus.session.handlers import EventHandlers, utc_now
from hookbus.session.key_bucket import KeySync, NatsKeyBucket
from hookbus.session.people.accounts import Accounts
from hookbus.session.people.breaches import RangeClient, local_list
from hookbus.session.people.clients import GeoIpFile, Nowhere
from hookbus.session.people.hasher import Hasher
from hookbus.session.people.logins import Logins
from hookbus.session.people.parts import Parts
from hookbus.session.people.person_bucket import PersonSync
from hookbus.session.people.presence import Presence
from hookbus.session.people.signing import Signer
from hookbus.session.people.vault import Vault
from hookbus.session.people.watch import Watch
from hookbus.session.reader import SessionReader
from hookbus.session.relay import Relay
from hookbus.session.requests import Requests
from hookbus.session.settings import SessionSettings
from hookbus.session.terminal_requests import TerminalRequests

SERVICE = "session"


def build(settings: SessionSettings) -> Service:
    """The service, wired and not yet connected."""
    broker = create_broker(SERVICE, settings)
    database = Database(SERVICE, settings)
    key_sync = KeySync(database, NatsKeyBucket(broker))
    relay = Relay(database, Publisher(broker), key_sync)
    events = EventHandlers(database, wake=relay.wake, thresholds=settings.thresholds)
    subscribe_batches(broker, SESSION_HOOKS, events.hooks, may_pass=is_transient)
    subscribe_batches(broker, SESSION_SECURITY, events.security, may_pass=is_transient)
    reader = SessionReader(database)
    passphrase = settings.token_passphrase.get_secret_value()
    parts = Parts(
        database,
        PersonSync(database, broker),
        Hasher(),
        Signer(database, passphrase, utc_now),
        Vault(passphrase),
        wake=relay.wake,
        watch=Watch(Nowhere() if settings.geoip_file is None else GeoIpFile(settings.geoip_file), settings.thresholds),
        limit_policy=settings.session_limit_policy,
    )
    logins = Logins(parts)
    presence = Presence(parts, logins)
    accounts = _accounts(parts, logins, settings)
    server = DirectRpcServer(broker, SERVICE, may_pass=is_transient)
    Requests(
        database, key_sync, reader, wake=relay.wake, logins=logins, presence=presence, thresholds=settings.thresholds
    ).register(server)
    AgentRequests(database).register(server)
    TerminalRequests(database).register(server)
    logins.register(server)
    presence.register(server)
    accounts.register(server)
    return Service(
        SERVICE,
        broker,
        checks=(
            bus_check(broker),
            consumer_check(broker, SESSION_HOOKS),
            consumer_check(broker, SESSION_SECURITY),
            Check("postgres", database.ping),
        ),
        on_start=(server.start,),
        on_stop=(database.close, reader.close, events.close),
        tasks=(
            relay.publish_forever,
            relay.sync_keys_forever,
            parts.signer.refresh_forever,
            parts.sync.sync_forever,
            logins.forget_forever,
            Forgetting(database).forget_forever,
        ),
    )


def _accounts(parts: Parts, logins: Logins, settings: SessionSettings) -> Accounts:
    accounts = Accounts(parts, logins, local_list())
    if settings.breach_check_url is not None and settings.breach_check_cache_dir is not None:
        client = RangeClient(
            settings.breach_check_url, settings.breach_check_cache_dir, accounts.tell_breach_check_failed
        )
        accounts.ask(client.is_breached)
    return accounts


def main() -> None:
    """Run until SIGTERM."""
    settings = load(SessionSettings)
    run(SERVICE, settings, lambda: build(settings))
