"""Keeping the log, from the command line and the library: receipts, pruning, exporting what is left, rotation."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.commands import hookbus
from support.events import unique
from support.fixtures import server_folder
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.audit.note import VerifierKey
from hookbus.audit.receipt import check_receipt
from hookbus.client import AsyncClient, Client, ClientError

PARTITION_ENTRIES = 256
EVENTS = 600
WAIT_S = 60.0


@pytest.fixture(scope="module")
def narrow() -> Iterator[StackFixture]:
    """A stack whose log has partitions of 256 entries."""
    with server_folder() as folder:
        running = StackFixture.launch(folder / "stack", HOOKBUS_AUDIT_PARTITION_ENTRIES=str(PARTITION_ENTRIES))
        try:
            yield running
        finally:
            running.stop()


def size(stack: StackFixture) -> int:
    return int(json.loads(hookbus(stack, "audit", "checkpoint", "--json").out)["size"])


async def test_a_client_asks_for_a_receipt_and_checks_it_with_the_logs_key(narrow: StackFixture, tmp_path: Path):
    agent, folder = unique("agent"), str(tmp_path)
    client = Client(narrow.url, narrow.api_key, agent_id=agent, data_dir=folder)
    published = client.publish("prompt", {"text": "x"})
    receipt = client.receipt(published.id, deadline_s=WAIT_S)
    assert receipt is not None
    key = json.loads(hookbus(narrow, "audit", "key", "--json").out)["verifier_key"]
    proven = check_receipt(receipt.text, VerifierKey.parse(key))
    assert (proven.event_id, proven.index) == (published.id, receipt.index)
    again = await AsyncClient(narrow.url, narrow.api_key, data_dir=folder).receipt(published.id, deadline_s=WAIT_S)
    assert again is not None
    assert again.leaf_hash == receipt.leaf_hash
    assert client.receipt("there/is none?", deadline_s=1.0) is None
    with pytest.raises(ClientError, match="401"):
        Client(narrow.url, "hbk_wrong", data_dir=folder).receipt(published.id, deadline_s=WAIT_S)
    (tmp_path / "kept.tlog-proof").write_text(receipt.text)
    assert hookbus(narrow, "audit", "verify", str(tmp_path / "kept.tlog-proof"), "--key", key).code == 0


async def test_the_log_is_pruned_and_what_is_left_is_exported_and_checked(narrow: StackFixture, tmp_path: Path):
    assert json.loads(hookbus(narrow, "audit", "prune", "--below", "256", "--dry-run", "--json").out)["entries"] == 0
    agent = unique("agent")
    events = [{"kind": "prompt", "agent_id": agent, "data": {"text": str(number)}} for number in range(EVENTS)]
    reply = httpx.post(f"{narrow.url}/api/v1/events", json=events, headers=narrow.headers, timeout=30)
    ids = [item["id"] for item in reply.json()["accepted"]]
    assert len(ids) == EVENTS
    await eventually(lambda: size(narrow) > EVENTS, WAIT_S)
    cut = 2 * PARTITION_ENTRIES
    assert json.loads(hookbus(narrow, "audit", "prune", "--below", "600", "--dry-run", "--json").out)["cut"] == cut
    done = hookbus(narrow, "audit", "prune", "--below", "600", "--reason", "retention", "--yes", "--json")
    assert (done.code, json.loads(done.out)["entries"]) == (0, cut)
    assert hookbus(narrow, "audit", "prune", "--below", "600", "--yes").code == 0
    for depth in ("checkpoints", "leaves", "all"):
        assert hookbus(narrow, "audit", "verify", "--depth", depth).code == 0, depth
    gone = hookbus(narrow, "audit", "prove", ids[0])
    assert gone.code == 1
    assert "pruned" in gone.err
    key = json.loads(hookbus(narrow, "audit", "key", "--json").out)["verifier_key"]
    file = tmp_path / "log.zip"
    assert hookbus(narrow, "audit", "export", "--bundle", "--output", str(file)).code == 0
    checked = hookbus(narrow, "audit", "verify", str(file), "--key", key, "--json")
    assert (checked.code, json.loads(checked.out)["ok"]) == (0, True)


def test_wrong_use_is_told_so(narrow: StackFixture):
    for arguments in (
        ("prune",),
        ("prune", "--below", "1", "--before", "2026-01-01"),
        ("prune", "--before", "long ago"),
        ("prune", "--below", "-1"),
        ("rotate-key", "--signing", "--to", "key-file"),
        ("rotate-key", "--to", "nothing"),
    ):
        assert hookbus(narrow, "audit", *arguments).code == 2, arguments
    # No key file is set: nothing is rotated, and the log goes on.
    refused = hookbus(narrow, "audit", "rotate-key", "--to", "key-file")
    assert refused.code == 1
    assert "HOOKBUS_AUDIT_KEK_FILE" in refused.err
    assert hookbus(narrow, "audit", "rotate-key").code == 0
    assert hookbus(narrow, "audit", "verify").code == 0
    url = f"{narrow.url}/api/v1/audit/prune"
    assert httpx.post(url, json={"below": 5}, timeout=10).status_code == 401
    for body in ({}, {"below": "x"}, {"below": 5, "before": "2026-01-01T00:00:00Z"}, {"before": "2026-01-01"}):
        assert httpx.post(url, json=body, headers=narrow.headers, timeout=10).status_code == 422, body
