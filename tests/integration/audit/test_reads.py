"""Reading leaves a trace; searching finds by each term; large pages are cut."""

from datetime import timedelta

import pytest
from pydantic import JsonValue
from support.audit import AuditStack
from support.events import hook_event, unique

from hookbus.contracts import audit as wire
from hookbus.contracts.events import Kind
from hookbus.contracts.problems import ProblemCode, ProblemError


async def read(stack: AuditStack, request: wire.EntriesRequest) -> wire.EntriesReply:
    return await stack.rpc.call("audit", "entries", request, wire.EntriesReply)


async def found(stack: AuditStack, request: wire.EntriesRequest) -> list[str]:
    return [entry.event_id for entry in (await read(stack, request)).entries]


async def test_each_read_is_itself_an_entry_and_a_repeated_one_counts_once(stack: AuditStack):
    agent, actor = unique("agent"), unique("actor")
    await stack.published([hook_event(agent_id=agent)])
    for cursor in (None, "3"):
        await read(stack, wire.EntriesRequest(agent=agent, actor=actor, cursor=cursor))
    await read(stack, wire.EntriesRequest(kind="prompt", actor=actor))

    async def traces() -> list[dict[str, JsonValue]]:
        reply = await read(stack, wire.EntriesRequest(kind="security.audit_read", actor="checker"))
        data = [entry.event["data"] for entry in reply.entries if entry.event]
        return [item for item in data if isinstance(item, dict) and item["actor"] == actor]

    marker = hook_event()
    await stack.published([marker])
    asked = [item["asked"] for item in await traces()]
    assert asked == [{"agent": agent}, {"kind": "prompt"}]


async def test_entries_are_found_by_each_term(stack: AuditStack):
    agent, session, project = unique("agent"), unique("session"), unique("project")
    plain = hook_event(Kind.PROMPT)
    wanted = hook_event(Kind.POST_TASK, agent_id=agent, session=session, project=project, data={"status": "failed"})
    await stack.published([plain, wanted])
    for request in (
        wire.EntriesRequest(agent=agent),
        wire.EntriesRequest(session=session),
        wire.EntriesRequest(project=project),
        wire.EntriesRequest(kind="post-task"),
        wire.EntriesRequest(outcome="failed"),
        wire.EntriesRequest(agent=agent, session=session, project=project, kind="post-task", outcome="failed"),
    ):
        assert await found(stack, request) == [wanted.id], request
    assert await found(stack, wire.EntriesRequest(agent=agent, kind="prompt")) == []
    entry = (await read(stack, wire.EntriesRequest(agent=agent))).entries[0]
    assert await found(stack, wire.EntriesRequest(agent=agent, since=entry.time)) == [wanted.id]
    assert await found(stack, wire.EntriesRequest(agent=agent, until=entry.time)) == []
    assert await found(stack, wire.EntriesRequest(agent=agent, since=entry.time + timedelta(microseconds=1))) == []


async def test_pages_join_without_a_gap_or_a_repeat(stack: AuditStack):
    agent = unique("agent")
    events = [hook_event(agent_id=agent) for _ in range(25)]
    await stack.published(events)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        reply = await read(stack, wire.EntriesRequest(agent=agent, cursor=cursor, page_items_max=7))
        seen += [entry.event_id for entry in reply.entries]
        cursor = reply.cursor
        if cursor is None:
            break
    assert seen == [event.id for event in events]


async def test_newest_first_pages_join_without_a_gap_or_a_repeat(stack: AuditStack):
    agent = unique("agent")
    events = [hook_event(agent_id=agent) for _ in range(25)]
    await stack.published(events)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        request = wire.EntriesRequest(agent=agent, order=wire.Order.NEWEST, cursor=cursor, page_items_max=7)
        reply = await read(stack, request)
        seen += [entry.event_id for entry in reply.entries]
        cursor = reply.cursor
        if cursor is None:
            break
    assert seen == [event.id for event in reversed(events)]


async def test_a_stream_is_found_alone(stack: AuditStack):
    """A hook's event, a read (a security event) and the log's own entry each lie in their stream and in no other."""
    event = hook_event()
    await read(stack, wire.EntriesRequest(agent=unique("agent"), actor=unique("actor")))
    await stack.published([event, hook_event()])
    found_in: dict[wire.EntryStream, list[wire.Entry]] = {}
    for stream in wire.EntryStream:
        request = wire.EntriesRequest(stream=stream, order=wire.Order.NEWEST, page_items_max=100)
        found_in[stream] = list((await read(stack, request)).entries)
    assert event.id in {entry.event_id for entry in found_in[wire.EntryStream.HOOKS]}
    for stream, prefix in (
        (wire.EntryStream.SECURITY, "dev.hookbus.security."),
        (wire.EntryStream.LOG, "dev.hookbus.audit."),
    ):
        types = [str((entry.event or {})["type"]) for entry in found_in[stream]]
        assert types, stream
        assert all(one.startswith(prefix) for one in types), (stream, types)
    hooks = [str((entry.event or {})["type"]) for entry in found_in[wire.EntryStream.HOOKS]]
    assert not any(one.startswith(("dev.hookbus.security.", "dev.hookbus.audit.")) for one in hooks)


async def test_a_page_of_large_events_fits_the_bus(stack: AuditStack):
    agent = unique("agent")
    events = [hook_event(agent_id=agent, data={"text": "x" * 200_000}) for _ in range(6)]
    await stack.published(events)
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        reply = await read(stack, wire.EntriesRequest(agent=agent, cursor=cursor))
        pages += 1
        seen += [entry.event_id for entry in reply.entries]
        cursor = reply.cursor
        if cursor is None:
            break
    assert seen == [event.id for event in events]
    assert pages > 1


@pytest.mark.parametrize("cursor", ["x", "-1", "1e3", "9" * 30, ""])
async def test_a_made_up_cursor_is_refused(stack: AuditStack, cursor: str):
    with pytest.raises(ProblemError) as caught:
        await read(stack, wire.EntriesRequest(cursor=cursor))
    assert caught.value.problem.code is ProblemCode.BODY_INVALID
