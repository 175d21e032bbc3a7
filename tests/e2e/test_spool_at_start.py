"""What waits in the spool when the stack comes up is sent by it, in order and under the same ids."""

import httpx
import pytest
from support.commands import hookbus
from support.events import unique
from support.stack import StackFixture
from support.waiting import eventually

EVENTS = 3
WAIT_S = 60.0


@pytest.mark.timeout(300)
async def test_up_sends_what_waited_while_it_was_down(own_stack: StackFixture) -> None:
    agent = unique("late")
    own_stack.stop()
    ids: list[str] = []
    for _ in range(EVENTS):
        ran = hookbus(own_stack, "emit", "prompt", "--agent", agent, "--json", HOOKBUS_DEADLINE_S="0.2")
        assert (ran.code, ran.json()["outcome"]) == (3, "spooled"), ran.err
        ids.append(ran.json()["id"])
    own_stack.start()
    with httpx.Client(base_url=own_stack.url, headers=own_stack.headers, timeout=30) as client:

        def logged() -> list[str]:
            answer = client.get("/api/v1/audit/entries", params={"agent": agent})
            answer.raise_for_status()
            return [entry["event"]["id"] for entry in answer.json()["entries"]]

        await eventually(lambda: logged() == ids, WAIT_S)
    assert hookbus(own_stack, "spool", "status", "--json").json()["waiting_events"] == 0
    own_stack.stop()
