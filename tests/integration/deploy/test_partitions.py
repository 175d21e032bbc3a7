"""What docs/operating/scaling.md says of NATS: a subject mapping sends an agent's events to one part, always."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import nats
from support.waiting import eventually

from hookbus.embedded.nats import server_binary
from hookbus.embedded.ports import free_ports

PARTS = 4
AGENTS = 2_000


def config(folder: Path, port: int, monitor_port: int) -> Path:
    path = folder / "nats.conf"
    mapping = {"hooks.*.*": f"parts.{{{{partition({PARTS},2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"}
    text = {
        "listen": f"127.0.0.1:{port}",
        "http": f"127.0.0.1:{monitor_port}",
        "jetstream": {"store_dir": str(folder / "jetstream")},
        "mappings": mapping,
    }
    path.write_text(json.dumps(text))
    return path


def healthy(monitor_port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{monitor_port}/healthz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


async def test_an_agent_s_events_meet_in_one_of_several_streams_and_agents_spread_evenly(tmp_path: Path) -> None:
    port, monitor_port = free_ports(2)
    process = await asyncio.create_subprocess_exec(
        str(server_binary()),
        "--config",
        str(config(tmp_path, port, monitor_port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: healthy(monitor_port))
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        try:
            stream = client.jetstream()
            for part in range(PARTS):
                await stream.add_stream(name=f"PART_{part}", subjects=[f"parts.{part}.*.*"])
            kinds = ("pre-task", "usage")
            stored = [
                (agent, (await stream.publish(f"hooks.{kind}.agent-{agent}", b"{}")).stream)
                for agent in range(AGENTS)
                for kind in kinds
            ]
        finally:
            await client.close()
    finally:
        process.terminate()
        await process.wait()
    # Each agent with its part: a second part would make more pairs than agents.
    assert len(set(stored)) == AGENTS
    shares = Counter(part for _, part in set(stored))
    assert len(shares) == PARTS
    assert all(abs(count - AGENTS / PARTS) < AGENTS / PARTS * 0.2 for count in shares.values()), shares
