"""``hookbus audit export --bundle`` and what it writes; what a check says that it did not look at."""

import base64
import gc
import json
import tracemalloc
import zipfile
from pathlib import Path

import httpx
import pytest
from support.command_inside import Run
from support.paper_log import PaperLog

from hookbus.audit import zipped
from hookbus.audit.bundle import Against, Bundle, check_bundle
from hookbus.audit.export import CHECKPOINTS
from hookbus.audit.note import Checkpoint
from hookbus.cli.api import Api
from hookbus.cli.commands import audit_bundle

CHECKPOINTS_MANY = 20_000
MEMORY_BYTES_MAX = 3 * 1024 * 1024
"""The lines of 20,000 checkpoints are some 5 MB, and more as text in memory."""


class LogGateway:
    """Serves a log on paper; its notes are listed as often as is asked."""

    def __init__(self, log: PaperLog) -> None:
        self._parts = log.parts()
        self._log = log
        self.notes = log.notes
        self.beyond = ""
        """A note of a checkpoint that is signed while the log is exported."""

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/audit/")
        if path == "key":
            body = {"note": self._log.notes[-1], "verifier_key": self._log.pinned.text}
            return httpx.Response(200, json=body)
        if path == "checkpoints":
            # A response of httpx is a cycle: only what is held for good is to be counted.
            gc.collect()
            first, count = int(request.url.params["after_size"]) + 1, int(request.url.params["page_items"])
            notes = [*self.notes[first : first + count]]
            last = first + count >= len(self.notes)
            if last and self.beyond:
                notes.append(self.beyond)
            # The place in the list stands in for the size that a page goes on after.
            return httpx.Response(200, json={"notes": notes, "after_size": None if last else first + count - 1})
        return httpx.Response(200, content=self._parts[path])


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for _ in range(600):
        paper.append(1)
    return paper


def api_of(gateway: LogGateway) -> Api:
    return Api("http://gateway.test", "hbk_test", transport=httpx.MockTransport(gateway.handle))


def test_a_log_of_more_checkpoints_than_fit_a_part_is_exported_and_checked(
    log: PaperLog, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = LogGateway(log)
    gateway.beyond = log.notes[0].replace("\n3\n", "\n9999\n")
    monkeypatch.setattr(Api, "from_settings", lambda: api_of(gateway))
    out = tmp_path / "log.zip"
    assert run("audit", "export", "--bundle", "--output", str(out), "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == log.size
    monkeypatch.setattr(zipped, "PART_BYTES_MAX", 128 * 1024)
    with zipfile.ZipFile(out) as archive:
        assert archive.getinfo(CHECKPOINTS).file_size > zipped.PART_BYTES_MAX
        # As an earlier version reads it: the whole part, then line by line.
        assert [json.loads(line) for line in archive.read(CHECKPOINTS).splitlines()] == log.notes
        assert archive.testzip() is None
    bundle = Bundle(out)
    found = check_bundle(bundle, Against(log.pinned))
    bundle.close()
    assert (found.fault, found.checkpoints) == (None, len(log.notes) + 1)
    # The live log is read through the same pages.
    gateway.beyond = ""
    assert run("audit", "verify", "--key", log.pinned.text, "--depth", "leaves", "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == len(log.notes) + 1


def test_the_memory_of_an_export_does_not_grow_with_the_checkpoints(tmp_path: Path) -> None:
    log = PaperLog(tmp_path)
    log.append(1)
    gateway = LogGateway(log)
    gateway.notes = [log.notes[0]] * CHECKPOINTS_MANY
    tracemalloc.start()
    try:
        audit_bundle.export_bundle(api_of(gateway), tmp_path / "log.zip", None, silent=True)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "log.zip") as archive:
        assert archive.read(CHECKPOINTS).count(b"\n") == CHECKPOINTS_MANY


@pytest.mark.parametrize(
    ("depth", "left"), [("checkpoints", ["entries", "search terms"]), ("leaves", ["search terms"]), ("all", [])]
)
def test_a_check_says_what_it_did_not_compare(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], depth: str, left: list[str]
) -> None:
    root = base64.b64encode(bytes(32)).decode()
    note = f"log.example/one\n7\n{root}\n\n"
    assert Checkpoint.parse(note[:-1]).size == 7

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/checkpoint"):
            return httpx.Response(200, text=note)
        return httpx.Response(200, json={"ok": True, "checked": 7, "root_hash": "00"})

    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(Api, "from_settings", lambda: Api("http://gateway.test", "hbk_test", transport=transport))
    assert run("audit", "verify", "--depth", depth, "--json") == 0
    assert json.loads(capsys.readouterr().out)["not_compared"] == left
    assert run("audit", "verify", "--depth", depth) == 0
    shown = capsys.readouterr().out
    assert ("Not compared" in shown) == bool(left)
    assert all(words in shown for words in left)
