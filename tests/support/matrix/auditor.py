"""A reader of the log who trusts nobody: pins its key, collects every checkpoint, has each continuation proved."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import httpx

from support.matrix.merkle import ForkError, Head, check_consistency, leaf_hash, open_note, roots_at

POLL_S = 0.5
REQUEST_TIMEOUT_S = 10.0
PINNED_TIMEOUT_S = 60.0


class Auditor:
    """Collects for as long as the block runs."""

    def __init__(self, url: str, headers: dict[str, str], anchor_file: Path) -> None:
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=REQUEST_TIMEOUT_S)
        self._anchor_file = anchor_file
        self._key: tuple[str, bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self.heads: list[Head] = []
        """Each of them proved to continue the one before it."""
        self.forks: list[str] = []

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(PINNED_TIMEOUT_S):
            while self._key is None:
                answer = await self._get("/api/v1/audit/key")
                if answer is not None:
                    name, _, encoded = answer.json()["verifier_key"].split("+", 2)
                    self._key = name, base64.b64decode(encoded)[1:]
                await asyncio.sleep(POLL_S)
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    def opened(self, note: str) -> Head:
        """The head of a note under the pinned key; raises ForkError."""
        assert self._key is not None
        return open_note(note, *self._key)

    async def _collect(self) -> None:
        while True:
            try:
                await self._look()
            except ForkError as error:
                self.forks.append(str(error))
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        answer = await self._get("/api/v1/audit/checkpoint")
        if answer is None:
            return
        head = self.opened(answer.text)
        last = self.heads[-1] if self.heads else Head(head.origin, 0, b"")
        if head.size == last.size and head.root == last.root:
            return
        proof: Sequence[bytes] = ()
        if 0 < last.size < head.size:
            path = f"/api/v1/audit/proof/consistency?from={last.size}&to={head.size}"
            proved = await self._get(path)
            if proved is None:
                return
            proof = [bytes.fromhex(item) for item in proved.json()["hashes"]]
        check_consistency(last, head, proof)
        self.heads.append(head)

    async def _get(self, path: str) -> httpx.Response | None:
        try:
            answer = await self._client.get(path)
        except httpx.HTTPError:
            return None
        return answer if answer.status_code == 200 else None

    def anchored(self) -> list[Head]:
        """Every checkpoint that was ever published, from the file kept outside of the log."""
        if not self._anchor_file.exists():
            return []
        # A last line cut short by a kill is no checkpoint.
        lines = self._anchor_file.read_bytes().split(b"\n")[:-1]
        return [self.opened(json.loads(line)["note"]) for line in lines if line]

    async def recount(self, superuser: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
        """What is wrong with the log as its rows are now, measured by every checkpoint that was published."""
        findings = list(self.forks)
        rows = await superuser.fetch("SELECT index, leaf_hash, record FROM audit.stored_events ORDER BY index")
        indices = [row["index"] for row in rows]
        if indices != list(range(len(rows))):
            findings.append("an index of the log is absent")
        leaves = [leaf_hash(row["record"]) for row in rows]
        changed = [row["index"] for row, leaf in zip(rows, leaves, strict=True) if row["leaf_hash"] != leaf]
        if changed:
            findings.append(f"entries that are not what was hashed: {changed[:5]}")
        try:
            notes = [row["note"] for row in await superuser.fetch("SELECT note FROM audit.checkpoints")]
            heads = {*self.heads, *self.anchored(), *map(self.opened, notes)}
        except ForkError as error:
            return [*findings, str(error)]
        roots = roots_at(leaves, {head.size for head in heads})
        findings += [
            f"the checkpoint of {head.size} entries is not of this log"
            for head in sorted(heads, key=lambda head: head.size)
            if roots.get(head.size) != head.root
        ][:5]
        return findings
