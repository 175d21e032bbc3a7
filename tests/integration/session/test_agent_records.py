"""Notes and objections: kept once, found by their tags, bounded, and gone with an agent's erasure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.context import Context
from pydantic import JsonValue
from support.events import hook_event, unique

from hookbus.contracts.agents import (
    NOTE_CHARS_MAX,
    ForgetAgentRequest,
    NotesRequest,
    NoteView,
    ObjectionsRequest,
    ObjectionView,
)
from hookbus.contracts.events import Event, Kind, type_of_security
from hookbus.contracts.problems import ProblemError
from hookbus.platform.bus.delivery import Delivery
from hookbus.platform.database.engine import Database
from hookbus.session.agent_requests import AgentRequests
from hookbus.session.handlers import EventHandlers
from hookbus.session.repository import agent_records

KEPT = 5


def deliveries(events: Sequence[Event], stream: str) -> list[Delivery]:
    return [
        Delivery(event, event.to_wire(), f"{stream.lower()}.x", stream, number, 1, Context())
        for number, event in enumerate(events, start=1)
    ]


def note(agent: str, text: JsonValue, **attributes: object) -> Event:
    event = hook_event(Kind.NOTIFICATION, agent_id=agent, data={"note": text})
    return event.model_copy(update=attributes)


def objection(agent: str, code: str, data: dict[str, JsonValue], session: str | None = None) -> Event:
    event = hook_event(agent_id=agent, session=session, data=data)
    return event.model_copy(update={"type": type_of_security(code)})


@pytest.fixture
def events(database: Database) -> EventHandlers:
    return EventHandlers(database, wake=lambda: None)


@pytest.fixture
def requests(database: Database) -> AgentRequests:
    return AgentRequests(database)


async def found(requests: AgentRequests, **wanted: object) -> list[NoteView]:
    return list((await requests.notes(NotesRequest.model_validate(wanted))).notes)


async def met(requests: AgentRequests, agent: str, session: str | None = None) -> list[ObjectionView]:
    return list((await requests.objections(ObjectionsRequest(agent_id=agent, session=session))).objections)


async def test_a_note_is_found_by_each_of_its_tags_and_by_its_words(
    events: EventHandlers, requests: AgentRequests
) -> None:
    agent, project = unique("a"), unique("p")
    at = datetime.now(UTC) - timedelta(hours=1)
    wanted = note(
        agent, "The fixture leaks a socket", agentcategory="testing", project=project, intent="bugfix", time=at
    )
    other = note(unique("a"), "Prices moved", agentcategory="research", project=unique("p"), intent="research")
    await events.hooks(deliveries([wanted, other], "HOOKS"))
    for wish in (
        {"agent_id": agent},
        {"project": project, "agent_category": "testing"},
        {"project": project, "intent": "bugfix"},
        {"project": project, "query": "socket leaks"},
        {"project": project, "query": '"leaks a socket" -price'},
        {"project": project, "since": at - timedelta(minutes=1), "until": at + timedelta(minutes=1)},
    ):
        assert [one.id for one in await found(requests, **wish)] == [wanted.id], wish
    for wish in (
        {"project": project, "intent": "research"},
        {"project": project, "query": "socket prices"},
        {"project": project, "until": at},
        {"project": project, "since": at + timedelta(minutes=1)},
    ):
        assert await found(requests, **wish) == [], wish


@pytest.mark.parametrize("query", ["'; DROP TABLE session.notes; --", "a & | ! ( ) : *", "\\", '"', "-", "%_%", " "])
async def test_a_hostile_query_finds_nothing_and_breaks_nothing(
    events: EventHandlers, requests: AgentRequests, query: str
) -> None:
    agent = unique("a")
    await events.hooks(deliveries([note(agent, "plain words")], "HOOKS"))
    assert await found(requests, agent_id=agent, query=query) == []
    assert len(await found(requests, agent_id=agent)) == 1


async def test_a_redelivered_note_is_kept_once_and_a_page_goes_on_where_the_last_ended(
    events: EventHandlers, requests: AgentRequests
) -> None:
    agent = unique("a")
    batch = deliveries([note(agent, f"note {number}") for number in range(7)], "HOOKS")
    await events.hooks(batch)
    await events.hooks(batch)
    first = await requests.notes(NotesRequest(agent_id=agent, page_items_max=4))
    rest = await requests.notes(NotesRequest(agent_id=agent, page_items_max=4, cursor=first.cursor))
    texts = [one.text for one in (*first.notes, *rest.notes)]
    assert sorted(texts) == [f"note {number}" for number in range(7)]
    assert rest.cursor is None


@pytest.mark.parametrize("text", [None, 7, "", "  \n", ["a"], {"text": "x"}])
async def test_what_is_no_text_is_no_note(events: EventHandlers, requests: AgentRequests, text: JsonValue) -> None:
    agent = unique("a")
    await events.hooks(deliveries([note(agent, text)], "HOOKS"))
    assert await found(requests, agent_id=agent) == []


async def test_an_odd_text_is_kept_as_far_as_it_can_be(events: EventHandlers, requests: AgentRequests) -> None:
    agent = unique("a")
    await events.hooks(deliveries([note(agent, "nul \x00 " + "x" * 10_000)], "HOOKS"))
    (kept,) = await found(requests, agent_id=agent)
    assert len(kept.text) == NOTE_CHARS_MAX
    assert kept.text.startswith("nul \ufffd x")


async def test_of_each_agent_only_the_newest_are_kept(
    events: EventHandlers, requests: AgentRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_records, "NOTES_PER_AGENT_MAX", KEPT)
    monkeypatch.setattr(agent_records, "OBJECTIONS_PER_AGENT_MAX", KEPT)
    busy, quiet = unique("a"), unique("a")
    begin = datetime.now(UTC) - timedelta(hours=1)
    for number in range(3 * KEPT):
        at = begin + timedelta(seconds=number)
        notes = [note(name, f"{number}", time=at) for name in (busy, quiet) if name == busy or number == 0]
        await events.hooks(deliveries(notes, "HOOKS"))
        refused = objection(busy, "command_refused", {"decision": "deny", "reason": f"{number}"})
        await events.security(deliveries([refused.model_copy(update={"time": at})], "SECURITY"))
    newest = [str(number) for number in reversed(range(2 * KEPT, 3 * KEPT))]
    assert [one.text for one in await found(requests, agent_id=busy)] == newest
    assert [one.reason for one in await met(requests, busy)] == newest
    assert [one.text for one in await found(requests, agent_id=quiet)] == ["0"]


async def test_an_objection_is_told_with_its_reason_to_its_own_agent_alone(
    events: EventHandlers, requests: AgentRequests
) -> None:
    agent, session = unique("a"), unique("s")
    told: list[Event] = [
        objection(agent, "cost_exhausted", {"decision": "deny", "reason": "spent", "event_id": "e-1"}, session),
        objection(agent, "command_refused", {"decision": "ask", "reason": "rm", "event_id": "e-2", "tool": "Bash"}),
        objection(agent, "input_refused", {"reason": "a prototype key"}),
        objection(agent, "session_killed", {"reason": "by hand"}, session),
        objection(agent, "command_refused", {"decision": "allow", "reason": "fine"}),
        objection(unique("a"), "command_refused", {"decision": "deny", "reason": "another's"}),
    ]
    await events.security(deliveries(told, "SECURITY"))
    await events.security(deliveries(told, "SECURITY"))
    every = {one.code: one for one in await met(requests, agent)}
    assert {code: (one.decision, one.reason) for code, one in every.items()} == {
        "cost_exhausted": ("deny", "spent"),
        "command_refused": ("ask", "rm"),
        "input_refused": ("deny", "a prototype key"),
    }
    assert every["command_refused"].tool == "Bash"
    assert [one.event_id for one in await met(requests, agent, session)] == ["e-1"]


async def test_erasing_an_agent_leaves_the_others(events: EventHandlers, requests: AgentRequests) -> None:
    gone, stays = unique("a"), unique("a")
    for agent in (gone, stays):
        await events.hooks(deliveries([note(agent, "words")], "HOOKS"))
        refused = objection(agent, "command_refused", {"decision": "deny", "reason": "no"})
        await events.security(deliveries([refused], "SECURITY"))
    reply = await requests.forget_agent(ForgetAgentRequest(agent_id=gone))
    assert (reply.notes, reply.objections) == (1, 1)
    assert (await requests.forget_agent(ForgetAgentRequest(agent_id=gone))).notes == 0
    assert await found(requests, agent_id=gone) == []
    assert await met(requests, gone) == []
    assert len(await found(requests, agent_id=stays)) == len(await met(requests, stays)) == 1


async def test_a_cursor_that_no_page_returned_is_refused(requests: AgentRequests) -> None:
    with pytest.raises(ProblemError, match="cursor"):
        await requests.notes(NotesRequest(cursor="bm90aGluZw=="))
