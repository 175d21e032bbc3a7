"""A backup of the running stack under load, brought back elsewhere: whole, counted once, a rollback called one."""

import stat
import subprocess
import tarfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest
from support.fixtures import server_folder
from support.hookbus_command import COMMAND
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.budget.rebuild import rebuild

WAIT_S = 60.0
AGENT = "backed-up"
TOKENS = 10
EVENTS_BEFORE_MIN = 300
EVENTS_AFTER_MIN = 50
COMMAND_TIMEOUT_S = 300
LOAD_THREADS = 3


class Load:
    """Usage events, as fast as they are acknowledged, until it is stopped."""

    def __init__(self, stack: StackFixture) -> None:
        self._stack = stack
        self._stopping = threading.Event()
        self.acknowledged: list[str] = []

    @contextmanager
    def running(self) -> Generator[None]:
        threads = [threading.Thread(target=self._run, args=(number,)) for number in range(LOAD_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _run(self, thread: int) -> None:
        with httpx.Client(base_url=self._stack.url, headers=self._stack.headers, timeout=30) as client:
            number = 0
            while not self._stopping.is_set():
                ids = [f"load-{thread}-{number}-{index}" for index in range(3)]
                data = {"tokens_used": TOKENS, "cost": "0.0001"}
                events = [{"id": id_, "kind": "usage", "agent_id": AGENT, "data": data} for id_ in ids]
                if client.post("/api/v1/events", json=events).status_code == 202:
                    self.acknowledged.extend(ids)
                number += 1


def hookbus(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(COMMAND), *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def anchored() -> Iterator[tuple[StackFixture, Path]]:
    """A stack whose checkpoints are anchored in a file outside its folder."""
    with server_folder() as folder:
        anchor = folder / "anchor.jsonl"
        running = StackFixture.launch(folder / "stack", HOOKBUS_AUDIT_ANCHOR_FILE=str(anchor))
        try:
            yield running, anchor
        finally:
            running.stop()


@pytest.mark.timeout(600)  # three stacks are started and stopped on what may be a busy machine
async def test_nothing_acknowledged_before_the_backup_is_missing_and_nothing_counts_twice(
    anchored: tuple[StackFixture, Path], tmp_path: Path
) -> None:
    """Taken under load and restored elsewhere: the log verifies, holds every event, the ledger recounts. A log older
    than its anchor is called a rollback."""
    stack, anchor = anchored
    load = Load(stack)
    file = stack.layout.root.parent / "backup.tar.gz"
    with load.running():
        await eventually(lambda: len(load.acknowledged) > EVENTS_BEFORE_MIN, WAIT_S)
        before = list(load.acknowledged)
        taken = hookbus("backup", str(file), "--data-dir", str(stack.layout.root))
        assert taken.returncode == 0, taken.stderr
        after = len(load.acknowledged) + EVENTS_AFTER_MIN
        await eventually(lambda: len(load.acknowledged) > after, WAIT_S)
    assert "every secret" in taken.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as archive:
        names = set(archive.getnames())
    assert {"manifest.json", "bus/HOOKS.snapshot", "root/audit/signing.pem", "postgres/PG_VERSION"} <= names

    with server_folder() as elsewhere:
        restored = StackFixture.at(elsewhere / "stack")
        done = hookbus("restore", str(file), "--data-dir", str(restored.layout.root))
        assert done.returncode == 0, done.stderr
        assert "verifies" in done.stdout
        restored.start()
        try:
            await _holds(restored, before)
        finally:
            restored.stop()

    def anchored_size() -> int:
        lines = anchor.read_text().splitlines()
        return max((int(line.split("\\n")[1]) for line in lines), default=0)

    await eventually(lambda: anchored_size() > len(before) + EVENTS_AFTER_MIN, WAIT_S)
    with server_folder() as elsewhere:
        target = elsewhere / "stack"
        rolled = hookbus("restore", str(file), "--data-dir", str(target), "--anchor", str(anchor))
        assert rolled.returncode == 1
        assert "ROLLBACK" in rolled.stderr
        assert str(anchor) in rolled.stderr
        assert not StackFixture.at(target).report()["running"]


async def _holds(stack: StackFixture, ids: list[str]) -> None:
    """Every event is in the audit log and in the ledger, each once, and the balances are what the ledger says."""
    connection = await asyncpg.connect(stack.postgres_url)
    try:

        async def charged() -> bool:
            found = await connection.fetch("SELECT event_id FROM budget.budget_history WHERE event_id = ANY($1)", ids)
            return {row["event_id"] for row in found} == set(ids)

        await eventually(charged, WAIT_S)
        twice = await connection.fetch(
            "SELECT event_id FROM budget.budget_history WHERE event_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        )
        assert twice == []
        spent = await connection.fetchval(
            "SELECT sum(tokens) FROM budget.budget_history WHERE event_id LIKE 'load-%' AND agent_id = $1", AGENT
        )
        events = await connection.fetchval(
            "SELECT count(*) FROM budget.budget_history WHERE event_id LIKE 'load-%' AND agent_id = $1", AGENT
        )
        assert spent == TOKENS * events
    finally:
        await connection.close()
    accounts, differences = await rebuild(stack.postgres_url, ZoneInfo("UTC"), repair=False)
    assert accounts > 0
    assert differences == 0
    with httpx.Client(base_url=stack.url, headers=stack.headers, timeout=30) as client:
        for event_id in (*ids[:20], *ids[-60:]):

            def received(name: str = event_id) -> bool:
                return client.get(f"/api/v1/audit/receipts/{name}").status_code == 200

            await eventually(received, WAIT_S)
        verified = client.post("/api/v1/audit/verify", json={}).json()
        assert verified["ok"], verified
        entries = {row["event_id"] for row in _entries(client)}
    assert set(ids) <= entries


def _entries(client: httpx.Client) -> Iterator[dict[str, str]]:
    cursor: str | None = None
    while True:
        query = {"agent": AGENT, "limit": 1000} | ({} if cursor is None else {"cursor": cursor})
        page = client.get("/api/v1/audit/entries", params=query).json()
        yield from page["entries"]
        cursor = page.get("cursor")
        if cursor is None:
            return


@pytest.mark.timeout(600)
async def test_what_cannot_be_backed_up_or_restored_is_said(stack: StackFixture, tmp_path: Path) -> None:
    """A stopped stack, a file that exists, a folder in use, a damaged or foreign file: words, exit code 1, no trace."""
    assert stack.wait_ready()
    data = str(stack.layout.root)
    file, target = tmp_path / "b.tar.gz", tmp_path / "new"
    assert hookbus("backup", str(file), "--data-dir", data).returncode == 0
    again = hookbus("backup", str(file), "--data-dir", data)
    assert (again.returncode, "exists" in again.stderr) == (1, True)
    stopped = hookbus("backup", str(tmp_path / "c"), "--data-dir", str(tmp_path / "nothing"))
    assert (stopped.returncode, "does not run" in stopped.stderr) == (1, True)
    in_use = hookbus("restore", str(file), "--data-dir", data)
    assert (in_use.returncode, "not empty" in in_use.stderr) == (1, True)
    whole = file.read_bytes()
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("none", b"not a backup"),
        ("empty", b""),
    ):
        broken = tmp_path / name
        broken.write_bytes(content)
        done = hookbus("restore", str(broken), "--data-dir", str(target))
        assert (done.returncode, "no whole backup" in done.stderr) == (1, True), (name, done.stderr)
        assert not target.exists(), name
    changed = tmp_path / "changed.tar.gz"
    with tarfile.open(file) as source, tarfile.open(changed, "w:gz", compresslevel=1) as copy:
        for member in source:
            content = source.extractfile(member)
            if member.name == "root/audit/signing.pem":
                member.size = 0
                copy.addfile(member)
            else:
                copy.addfile(member, content)
    done = hookbus("restore", str(changed), "--data-dir", str(target))
    assert (done.returncode, "root/audit/signing.pem" in done.stderr) == (1, True), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar.gz", "changed.tar.gz", "cut", "empty", "none"]
