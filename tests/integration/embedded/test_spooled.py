"""Sending what waits in the data folder: by a process of its own, ended with the stack."""

import asyncio
from pathlib import Path

import pytest
from support.hookbus_command import Command
from support.scripted_gateway import ScriptedGateway

from hookbus.embedded.layout import Layout
from hookbus.embedded.spooled import replay_spool

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    made.logs.mkdir(parents=True)
    return made


def spooled(layout: Layout) -> None:
    ran = Command(layout.root)("emit", "prompt", "--agent", "a", HOOKBUS_URL=NOWHERE, HOOKBUS_DEADLINE_S="0.2")
    assert ran.exit_code == 3


async def test_what_waits_is_sent(layout: Layout) -> None:
    spooled(layout)
    with ScriptedGateway() as gateway:
        await replay_spool(layout, gateway.url)
    assert len(gateway.events) == 1
    assert "sent 1" in layout.log_file("spool").read_text()


async def test_nothing_is_run_where_nothing_waits(layout: Layout) -> None:
    await replay_spool(layout, NOWHERE)
    assert not layout.log_file("spool").exists()


async def test_what_cannot_be_sent_waits_on(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    spooled(layout)
    monkeypatch.setenv("HOOKBUS_SPOOL_KEY_FILE", str(layout.root / "absent"))
    await replay_spool(layout, NOWHERE)
    assert "cannot be read" in layout.log_file("spool").read_text()
    assert Command(layout.root).spool()["waiting_events"] == 1


async def test_the_process_ends_with_the_stack(layout: Layout) -> None:
    """A gateway that never answers: the replay is told to stop, and nothing of it is left."""
    spooled(layout)
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        replaying = asyncio.create_task(replay_spool(layout, url))
        await asyncio.wait_for(reached.wait(), 60)
        replaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replaying
    assert Command(layout.root).spool()["waiting_events"] == 1
