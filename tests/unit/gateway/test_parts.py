"""The gateway's smaller parts: rates, the key cache, group commit, intake, settings."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from hookbus.contracts.events import Event, Kind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import ApiKeyRecord, KeyScope
from hookbus.gateway.guard.structure import check_structure
from hookbus.gateway.intake import Intake, message_of
from hookbus.gateway.keys import RECORD_AGE_S_MAX, RECORDS_MAX, KeyCache
from hookbus.gateway.problems import RateLimitedError
from hookbus.gateway.rates import BoundedStorage, Limiter
from hookbus.gateway.settings import GatewaySettings
from hookbus.gateway.strict_json import JsonTree
from hookbus.platform.bus import group_commit
from hookbus.platform.bus.group_commit import GroupCommit
from hookbus.platform.bus.publisher import Outgoing, Publisher, unavailable

NOW = datetime(2026, 11, 23, tzinfo=UTC)
INTAKE = Intake(NOW, lambda: "id-1", None)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_limit_and_its_window() -> None:
    clock = Clock()
    limiter = Limiter("3/minute", "a test", clock=clock)
    for _ in range(3):
        limiter.hit("a")
    with pytest.raises(RateLimitedError) as caught:
        limiter.hit("a")
    assert caught.value.headers == {"RateLimit-Limit": "3", "RateLimit-Remaining": "0", "RateLimit-Reset": "60"}
    limiter.hit("b")
    clock.now_s += 60
    limiter.hit("a", cost=3)
    with pytest.raises(RateLimitedError):
        limiter.check("a")


def test_counters_are_bounded() -> None:
    """Whoever invents addresses does not choose how much memory they take."""
    storage = BoundedStorage(Clock(), counters_max=100)
    for n in range(10_000):
        storage.incr(f"address-{n}", 60)
    assert storage.reset() == 100


def record(key_id: str) -> ApiKeyRecord:
    return ApiKeyRecord(key_id=key_id, name="n", secret_sha256="0" * 64, scopes=frozenset({KeyScope.EVENTS}))


async def test_a_record_is_never_older_than_its_bound() -> None:
    clock = Clock()
    asked: list[str] = []

    async def fetch(key_id: str) -> ApiKeyRecord | None:
        asked.append(key_id)
        await asyncio.sleep(0)
        clock.now_s += 0.1
        return record(key_id)

    cache = KeyCache(fetch, clock)
    await asyncio.gather(*(cache.get("a" * 12) for _ in range(50)))
    assert len(asked) == 1
    clock.now_s += RECORD_AGE_S_MAX - 0.1 - 0.001
    await cache.get("a" * 12)
    assert len(asked) == 1
    clock.now_s += 0.001
    await cache.get("a" * 12)
    assert len(asked) == 2


async def test_a_failed_fetch_is_not_remembered_and_records_are_bounded() -> None:
    fail = True

    async def fetch(key_id: str) -> ApiKeyRecord | None:
        if fail:
            raise unavailable("away")
        return record(key_id)

    cache = KeyCache(fetch, Clock())
    with pytest.raises(ProblemError):
        await cache.get("b" * 12)
    fail = False
    assert await cache.get("b" * 12) is not None
    for n in range(RECORDS_MAX + 100):
        await cache.get(f"{n:012d}")
    assert len(cache) == RECORDS_MAX


class SlowPublisher(Publisher):
    """Stores in memory; each write takes a moment."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.fail = False

    async def store_many(self, messages: Sequence[Outgoing]) -> list[int | ProblemError]:
        ids = [message.message_id for message in messages]
        self.groups.append(ids)
        await asyncio.sleep(0.01)
        return [unavailable("away") if self.fail else len(self.groups) * 1_000 + n for n, _ in enumerate(ids)]


def message(message_id: str) -> Outgoing:
    return Outgoing("hooks.prompt.a", message_id, b"{}", {})


async def test_what_waits_together_travels_together() -> None:
    publisher = SlowPublisher()
    group = GroupCommit(publisher)
    group.start()
    sequences = await asyncio.gather(*(group.store(message(f"m-{n}")) for n in range(500)))
    assert len(set(sequences)) == 500
    assert len(publisher.groups) == 1
    await group.stop()


async def test_one_id_twice_in_a_group_is_written_once_and_answered_twice() -> None:
    publisher = SlowPublisher()
    group = GroupCommit(publisher)
    group.start()
    first, second, other = await asyncio.gather(*(group.store(message(name)) for name in ("x", "x", "y")))
    assert first == second != other
    assert publisher.groups == [["x", "y"]]
    await group.stop()


async def test_every_waiter_is_answered() -> None:
    """When the write fails, when the backlog is full, when the process stops."""
    publisher = SlowPublisher()
    publisher.fail = True
    group = GroupCommit(publisher)
    group.start()
    results = await asyncio.gather(*(group.store(message(str(n))) for n in range(20)), return_exceptions=True)
    assert all(isinstance(result, ProblemError) for result in results)
    with pytest.raises(ProblemError, match="too many events wait"):
        await group.store_all([message(str(n)) for n in range(group_commit.BACKLOG_EVENTS_MAX + 1)])
    waiting = [asyncio.create_task(group.store(message(f"late-{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    await group.stop()
    stopped = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, ProblemError) for result in stopped)
    assert group.waiting == 0


def test_short_form_and_cloudevent_mean_the_same() -> None:
    short = INTAKE.event(
        {"kind": "usage", "agent_id": "a", "agent_category": "testing", "data": {"input_tokens": 5}}, cloudevent=False
    )
    full = INTAKE.event(
        {
            "specversion": "1.0",
            "source": "urn:hookbus:agent:a",
            "type": "dev.hookbus.usage.v1",
            "subject": "a",
            "agentcategory": "testing",
            "data": {"input_tokens": 5},
        },
        cloudevent=True,
    )
    assert short == full
    assert (short.kind, short.id, short.time) == (Kind.USAGE, "id-1", NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"specversion": None},
        {"source": None},
        {"source": ""},
        {"type": "dev.hookbus.security.session_killed.v1"},
        {"type": "dev.hookbus.nonsense.v1"},
        {"subject": "agent\n"},
        {"subject": "a.b"},
        {"id": "x\n"},
        {"id": "x" * 129},
        {"decision": "allow"},
        {"reservation": "rsv-1"},
        {"Extension": "x"},
        {"extension": {"nested": 1}},
        {"time": "2026-01-01T00:00:00"},
        {"datacontenttype": "text/plain"},
        {"data": [1]},
        {"data": {"input_tokens": -1}},
        {"data": {"input_tokens": 10_000_001}},
        {"data": {"cost": 100.01}},
        {"data": {"cost": 0.0000001}},
    ],
)
def test_an_illegal_event_is_refused(change: dict[str, Any]) -> None:
    legal: dict[str, JsonTree] = {
        "specversion": "1.0",
        "source": "urn:x",
        "type": "dev.hookbus.usage.v1",
        "subject": "a",
        "data": {},
    }
    INTAKE.event(dict(legal), cloudevent=True)
    with pytest.raises(ProblemError) as caught:
        INTAKE.event({**legal, **change}, cloudevent=True)
    assert caught.value.problem.code is ProblemCode.BODY_INVALID


@pytest.mark.parametrize("key", ["__proto__", "constructor", "prototype", "a\x00b", "a\nb", "x" * 2_000])
def test_keys_that_reach_beyond_their_object_are_refused(key: str) -> None:
    """At every depth; the same words as values are text like any other."""
    nested: tuple[dict[str, JsonValue], ...] = ({key: 1}, {"a": {key: {}}}, {"a": [[{"b": {key: 1}}]]})
    for data in nested:
        refusal = check_structure(data)
        assert refusal is not None
        assert refusal.reason.isprintable()
    assert check_structure({"code": key, "list": [key]}) is None


def test_an_event_that_grows_too_large_is_refused() -> None:
    """The bound holds for what is stored, not only for what was sent."""
    numbers: list[JsonValue] = [1e15] * 20_000
    event = Event(id="e", source="s", type="dev.hookbus.prompt.v1", subject="a", time=NOW, data={"x": numbers})
    with pytest.raises(ProblemError) as caught:
        message_of(event, None)
    assert caught.value.problem.code is ProblemCode.TOO_LARGE


@pytest.mark.parametrize(
    "bad",
    [
        {"HOOKBUS_ENV": "production", "cors_origins": ("*",)},
        {"HOOKBUS_ENV": "production", "cors_origins": ("https://*.example",)},
        {"rate_limit_per_key": "often"},
        {"workspace_roots": ("relative",)},
    ],
)
def test_bad_settings_stop_the_start(bad: dict[str, object]) -> None:
    good = {"nats_user": "gateway", "nats_password": "x", "http_port": 0}
    GatewaySettings.model_validate(good)
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate({**good, **bad})
