"""Terminals: read back in pages, bounded, forgotten with age and with their agent."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import JsonValue
from support.bus import new_broker
from support.events import hook_event, unique
from support.servers import NatsFixture
from support.session_service import SessionStack
from support.waiting import eventually

from hookbus.contracts import limits
from hookbus.contracts.agents import ForgetAgentReply, ForgetAgentRequest
from hookbus.contracts.events import Event, Kind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.subjects import hook_subject
from hookbus.contracts.terminals import (
    PIECES_PAGE_MAX,
    TerminalListReply,
    TerminalListRequest,
    TerminalReply,
    TerminalRequest,
    TerminalView,
)
from hookbus.platform.bus.publisher import Publisher
from hookbus.session.domain.terminals import TERMINAL_OUTPUT_BYTES_MAX
from hookbus.session.forgetting import TERMINALS_AGE_MAX, Forgetting

WAIT_S = 60.0
PIECES = 2 * PIECES_PAGE_MAX + 1


@pytest.fixture(scope="module")
async def publisher(nats_server: NatsFixture) -> AsyncIterator[Publisher]:
    broker = new_broker(nats_server, "gateway")
    await broker.connect()
    yield Publisher(broker)
    await broker.stop()


async def publish(publisher: Publisher, *events: Event) -> None:
    for event in events:
        assert event.kind is not None
        await publisher.publish(event, hook_subject(event.kind, event.agent_id))


async def terminals_of(stack: SessionStack, session: str) -> tuple[TerminalView, ...]:
    request = TerminalListRequest(session=session)
    return (await stack.rpc.call("session", "terminal_list", request, TerminalListReply)).terminals


async def closed(stack: SessionStack, session: str) -> TerminalView:
    async def there() -> bool:
        found = await terminals_of(stack, session)
        return len(found) == 1 and found[0].closed_at is not None

    await eventually(there, WAIT_S)
    return (await terminals_of(stack, session))[0]


async def pages(stack: SessionStack, terminal: TerminalView) -> list[TerminalReply]:
    found: list[TerminalReply] = []
    after = None
    while True:
        request = TerminalRequest(agent_id=terminal.agent_id, id=terminal.id, after=after)
        found.append(await stack.rpc.call("session", "terminal", request, TerminalReply))
        after = found[-1].next
        if after is None:
            return found


async def run_of(publisher: Publisher, texts: list[str], *, truncated: bool = False) -> tuple[str, str]:
    """One terminal's events; its agent and session."""
    agent, session, terminal = unique("agent"), unique("s"), unique("t")

    def event(kind: Kind, **data: JsonValue) -> Event:
        return hook_event(kind, agent_id=agent, session=session, data={"terminal_id": terminal, **data})

    printed = [event(Kind.TERMINAL_OUTPUT, sequence=number, text=text) for number, text in enumerate(texts)]
    await publish(
        publisher,
        event(Kind.TERMINAL_OPENED, shell="sh", cwd="/w"),
        *reversed(printed),
        event(Kind.TERMINAL_CLOSED, exit_code=3, truncated=truncated),
    )
    return agent, session


async def test_what_was_printed_is_read_in_its_order_page_by_page(stack: SessionStack, publisher: Publisher) -> None:
    """Also where the events came in another order, and where the terminal is as full as may be."""
    chars = TERMINAL_OUTPUT_BYTES_MAX // PIECES // len("€".encode())
    texts = [f"{number}" + "€" * (chars - 1) for number in range(PIECES)]
    _, session = await run_of(publisher, texts)
    terminal = await closed(stack, session)
    assert (terminal.shell, terminal.cwd, terminal.exit_code, terminal.truncated) == ("sh", "/w", 3, False)
    found = await pages(stack, terminal)
    assert [piece.text for page in found for piece in page.output] == texts
    assert all(len(page.output) <= PIECES_PAGE_MAX for page in found)


async def test_more_than_the_bound_is_cut_and_says_so(stack: SessionStack, publisher: Publisher) -> None:
    count = TERMINAL_OUTPUT_BYTES_MAX // limits.TERMINAL_TEXT_CHARS_MAX + 2
    _, session = await run_of(publisher, ["x" * limits.TERMINAL_TEXT_CHARS_MAX] * count)
    terminal = await closed(stack, session)
    assert (terminal.truncated, terminal.output_bytes) == (True, TERMINAL_OUTPUT_BYTES_MAX)
    _, session = await run_of(publisher, ["cut by its sender"], truncated=True)
    assert (await closed(stack, session)).truncated


async def test_an_unknown_terminal_is_not_found(stack: SessionStack) -> None:
    with pytest.raises(ProblemError) as problem:
        await stack.rpc.call("session", "terminal", TerminalRequest(agent_id="nobody", id="t"), TerminalReply)
    assert problem.value.problem.code is ProblemCode.NOT_FOUND
    assert await terminals_of(stack, unique("s")) == ()


async def test_old_terminals_are_forgotten_and_others_stay(stack: SessionStack, publisher: Publisher) -> None:
    _, session = await run_of(publisher, ["new"])
    terminal = await closed(stack, session)
    near = Forgetting(stack.database, now=lambda: terminal.opened_at + TERMINALS_AGE_MAX - timedelta(minutes=1))
    await near.forget()
    assert [one.id for one in await terminals_of(stack, session)] == [terminal.id]
    later = Forgetting(stack.database, now=lambda: datetime.now(UTC) + TERMINALS_AGE_MAX + timedelta(minutes=1))
    while await later.forget():
        pass
    assert await terminals_of(stack, session) == ()


async def test_an_agent_that_is_forgotten_leaves_no_terminal(stack: SessionStack, publisher: Publisher) -> None:
    agent, session = await run_of(publisher, ["mine"])
    _, other = await run_of(publisher, ["of another"])
    await closed(stack, session)
    await closed(stack, other)
    await stack.rpc.call("session", "forget_agent", ForgetAgentRequest(agent_id=agent), ForgetAgentReply)
    assert await terminals_of(stack, session) == ()
    assert len(await terminals_of(stack, other)) == 1
