"""Another process that holds the append lock - a stopped hook, an fsync that stalls - costs a caller its own time only.

The lock is waited for by a clock that only the waiting moves, so what is measured is the wait and not the machine.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookbus.cli.install.agents import SESSION_END_TIMEOUT_S
from hookbus.client import Client, adapters, delivery, hook, ordering, spool, spool_files
from hookbus.client.compactjson import dumps
from hookbus.client.drain import drain
from hookbus.client.gateway import EventRefusedError, Gateway, GatewayAwayError, GatewayError, Receipt
from hookbus.client.settings import Settings
from hookbus.client.spool import WRITE_LOCK_WAIT_MIN_S, Spool
from hookbus.client.spool_files import LOCK_POLL_S, FileLock, SpoolError

SLACK_S = 2 * LOCK_POLL_S
EVENT: dict[str, Any] = {"id": "e", "kind": "session-end", "agent_id": "a", "session": "s", "data": {}}


class Clock:
    """The time module as the client sees it; sleeping moves it at once."""

    def __init__(self) -> None:
        self.now = self.began = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def spent_s(self) -> float:
        return self.now - self.began


class Slow(Gateway):
    """One that uses up the deadline and then takes nothing."""

    def __init__(self, clock: Clock, error: GatewayError | None = None) -> None:
        self._clock = clock
        self._error = error or GatewayAwayError("the gateway does not answer")

    def publish(
        self, events: list[dict[str, Any]], *, deadline: float, retries: bool = True, replayed: bool = False
    ) -> Receipt:
        del events, retries, replayed
        self._clock.now = max(self._clock.now, deadline)
        raise self._error


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (spool, spool_files, ordering):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"HOOKBUS_DATA_DIR": str(tmp_path)})


@pytest.fixture
def held(settings: Settings) -> Iterator[Spool]:
    """A spool where nothing waits and whose lock another process holds."""
    store = Spool(settings.spool_dir)
    Path(store.folder).mkdir(mode=0o700)
    with FileLock(store.path(spool.APPEND_LOCK), 0.0) as locked:
        assert locked
        yield store


@pytest.fixture
def held_with_one_waiting(settings: Settings) -> Iterator[Spool]:
    store = Spool(settings.spool_dir)
    store.append([dumps(EVENT)])
    with FileLock(store.path(spool.APPEND_LOCK), 0.0) as locked:
        assert locked
        yield store


def test_what_waits_takes_its_share_of_a_decision_and_no_more(held_with_one_waiting: Spool, clock: Clock) -> None:
    event = ordering.send_first(
        held_with_one_waiting, Slow(clock), EVENT, clock.now + hook.DECIDE_DEADLINE_S, events_max=100
    )
    assert event["data"][ordering.OVERTAKES] is True
    assert clock.spent_s <= ordering.SHARE_OF_DEADLINE * hook.DECIDE_DEADLINE_S + SLACK_S


@pytest.mark.parametrize("left_s", [-5.0, 0.0, 0.1, 1.0])
def test_a_replay_ends_at_its_deadline_and_says_who_held_it_up(
    held_with_one_waiting: Spool, clock: Clock, left_s: float
) -> None:
    report = drain(held_with_one_waiting, lambda _: Receipt(), deadline=clock.now + left_s, clock=lambda: 0.0)
    assert spool.APPEND_LOCK in str(report.error)
    assert clock.spent_s <= max(0.0, left_s) + SLACK_S


@pytest.mark.parametrize(
    ("left_s", "wait_s"),
    [(-5.0, WRITE_LOCK_WAIT_MIN_S), (0.0, WRITE_LOCK_WAIT_MIN_S), (0.5, 0.5), (60.0, spool.APPEND_LOCK_WAIT_S)],
)
def test_what_is_to_be_stored_waits_until_the_deadline_within_bounds(
    held: Spool, clock: Clock, left_s: float, wait_s: float
) -> None:
    """Behind the deadline too: other hooks hold the lock for the milliseconds of an fsync."""
    with pytest.raises(SpoolError, match=spool.APPEND_LOCK):
        held.within(clock.now + left_s).append([dumps(EVENT)])
    assert wait_s <= clock.spent_s <= wait_s + SLACK_S
    assert held.segments() == []


def test_who_has_no_deadline_waits_as_long_as_anyone(held: Spool, clock: Clock) -> None:
    with pytest.raises(SpoolError):
        held.append([dumps(EVENT)])
    assert clock.spent_s <= spool.APPEND_LOCK_WAIT_S + SLACK_S


@pytest.mark.parametrize("error", [GatewayAwayError("away"), EventRefusedError(422, "body_invalid", "no")])
@pytest.mark.parametrize("waiting", ["held", "held_with_one_waiting"])
def test_a_record_that_cannot_be_kept_is_an_error_before_the_agent_ends_its_hook(
    settings: Settings, clock: Clock, waiting: str, error: GatewayError, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(waiting)
    with pytest.raises(SpoolError, match=spool.APPEND_LOCK):
        delivery.deliver(settings, Slow(clock, error), [EVENT], deadline=clock.now + hook.RECORD_DEADLINE_S)
    assert clock.spent_s <= hook.RECORD_DEADLINE_S + WRITE_LOCK_WAIT_MIN_S + SLACK_S
    assert clock.spent_s < SESSION_END_TIMEOUT_S


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("spent_s", [0.0, hook.DECIDE_DEADLINE_S])
def test_a_pre_task_without_a_gateway_is_answered_although_it_cannot_be_kept(
    settings: Settings, clock: Clock, spent_s: float
) -> None:
    call = hook._Call(adapters.load("claude-code"), settings, {}, clock.now)  # pyright: ignore[reportPrivateUsage]  # no agent waits here
    clock.now += spent_s
    lost = call._keep(EVENT, GatewayAwayError("away"))  # pyright: ignore[reportPrivateUsage]  # as above
    assert spool.APPEND_LOCK in str(lost)
    assert clock.spent_s <= hook.DECIDE_DEADLINE_S + WRITE_LOCK_WAIT_MIN_S + SLACK_S


@pytest.mark.usefixtures("held")
def test_the_librarys_decision_keeps_to_its_deadline(settings: Settings, clock: Clock) -> None:
    client = Client("http://127.0.0.1:9", "hbk_test", agent_id="a", data_dir=settings.data_dir, deadline_s=0.3)
    with pytest.raises(SpoolError, match=spool.APPEND_LOCK):
        client.decide("Bash", {"command": "ls"})
    assert clock.spent_s <= 0.3 + WRITE_LOCK_WAIT_MIN_S + SLACK_S
