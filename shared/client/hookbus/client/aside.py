"""Work after the answer, in a process of its own: the agent waits for the hook to end, not for this."""

from __future__ import annotations

import os

from hookbus.client import delivery, transcripts
from hookbus.client.gateway import Gateway, deadline_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hookbus.client.adapters.base import Transcript
    from hookbus.client.settings import Settings

DELIVERY_DEADLINE_S = 5.0
NICENESS = 5


def detached(work: Callable[[], None]) -> None:
    """Run ``work`` in a child that belongs to no terminal and holds none of the agent's pipes; returns at once."""
    if os.fork() != 0:
        return
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.nice(NICENESS)
        work()
    except BaseException:  # noqa: BLE001  # nobody is left to tell; what was not handed over is read again
        os._exit(1)
    os._exit(0)


def read_transcript(settings: Settings, gateway: Gateway, transcript: Transcript, agent_id: str) -> None:
    """Report what a session's transcripts say was used since the last time."""

    def deliver(events: list[dict[str, Any]]) -> None:
        for start in range(0, len(events), delivery.REPLAY_EVENTS_MAX):
            part = events[start : start + delivery.REPLAY_EVENTS_MAX]
            delivery.deliver(settings, gateway, part, deadline=deadline_in(DELIVERY_DEADLINE_S))

    reader = transcripts.Reader(settings.data_dir, deliver, agent_id=agent_id, project=settings.project)
    reader.read(transcripts.files_of(transcript.path, transcript.subagent_path), final=transcript.final)
