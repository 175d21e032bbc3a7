"""Transcripts: each response counted once, by its largest figures, however the file grows and whoever dies."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from hookbus.client import transcripts
from hookbus.client.transcripts import Reader, files_of
from hookbus.contracts.events import ShortEvent
from hookbus.contracts.payloads import Usage


def line(number: int, output: int, **changes: Any) -> str:
    usage = {
        "input_tokens": 10,
        "output_tokens": output,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    entry = {
        "type": "assistant",
        "sessionId": "s-1",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "requestId": f"req_{number}",
        "isSidechain": False,
        "message": {"id": f"msg_{number}", "model": "claude-opus-4-5", "usage": usage},
    }
    return json.dumps({**entry, **changes}) + "\n"


class Desk:
    """A reader, its transcript, and what was handed over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "s-1.jsonl"
        self.events: list[dict[str, Any]] = []
        self.reader = Reader(str(folder / "data"), self.events.extend, agent_id="a", project="p")

    def add(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def read(self, *, final: bool = False) -> list[dict[str, Any]]:
        self.events.clear()
        self.reader.read(files_of(str(self.path), None), final=final)
        for event in self.events:
            Usage.model_validate(ShortEvent.model_validate(event).data)
        return list(self.events)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def counted(events: list[dict[str, Any]]) -> dict[str, int]:
    return {event["data"]["request_id"]: event["data"]["output_tokens"] for event in events}


def test_one_response_in_many_lines_counts_once_by_its_largest(desk: Desk) -> None:
    desk.add(line(1, 1) + line(1, 1) + '{"type":"user","message":{"usage":"none"}}\n' + line(1, 250) + line(1, 40))
    (event,) = desk.read(final=True)
    assert event["data"] == {
        "request_id": "req_1",
        "message_id": "msg_1",
        "model": "claude-opus-4-5",
        "input_tokens": 10,
        "output_tokens": 250,
        "cache_read_tokens": 5,
        "cache_write_5m_tokens": 10,
        "cache_write_1h_tokens": 20,
        "provider": "anthropic",
        "provenance": "transcript",
    }
    assert (event["session"], event["project"], event["time"]) == ("s-1", "p", "2026-01-01T00:00:00.000Z")


def test_the_response_in_the_making_waits_for_its_end(desk: Desk) -> None:
    desk.add(line(1, 1))
    assert desk.read() == []
    desk.add(line(1, 99) + line(2, 1))
    assert counted(desk.read()) == {"req_1": 99}
    assert desk.read() == []
    assert counted(desk.read(final=True)) == {"req_2": 1}
    desk.add(line(2, 50))
    assert desk.read(final=True) == []


def test_a_partial_last_line_is_left_for_next_time(desk: Desk) -> None:
    text = line(1, 7)
    desk.add(text[:50])
    assert desk.read(final=True) == []
    desk.add(text[50:])
    assert counted(desk.read(final=True)) == {"req_1": 7}


def test_a_file_that_was_replaced_is_read_anew_under_the_same_ids(desk: Desk) -> None:
    desk.add(line(1, 7) + line(2, 8))
    first = desk.read(final=True)
    for state in (desk.folder / "data" / "transcripts").glob("*.json"):
        state.unlink()
    assert [event["id"] for event in desk.read(final=True)] == [event["id"] for event in first]
    desk.path.unlink()
    desk.add(line(3, 9))
    assert counted(desk.read(final=True)) == {"req_3": 9}


def test_subagents_files_are_read_too(desk: Desk) -> None:
    folder = desk.folder / "s-1" / "subagents"
    folder.mkdir(parents=True)
    (folder / "agent-1.jsonl").write_text(line(5, 5, isSidechain=True), encoding="utf-8")
    desk.add(line(1, 7))
    events = desk.read(final=True)
    assert counted(events) == {"req_1": 7, "req_5": 5}
    assert [event["data"].get("sidechain") for event in events] == [None, True]


def test_what_could_not_be_handed_over_is_handed_over_again(desk: Desk) -> None:
    def fail(_events: list[dict[str, Any]]) -> None:
        raise OSError("planted")

    desk.add(line(1, 7))
    broken = Reader(str(desk.folder / "data"), fail, agent_id="a", project=None)
    with pytest.raises(OSError, match="planted"):
        broken.read([str(desk.path)], final=True)
    assert counted(desk.read(final=True)) == {"req_1": 7}


@pytest.mark.parametrize(
    "text",
    [
        "not json with usage\n",
        '{"usage": 1}\n',
        line(1, -5, message={"id": "m", "usage": {"output_tokens": -5, "input_tokens": "x"}}),
        line(1, 1, message={"id": "m", "usage": {"output_tokens": 10**30}}),
        line(1, 1, requestId=None, message={"usage": {"output_tokens": 5}}),
        "\x00\xff" * 100 + '"usage"\n',
    ],
)
def test_odd_lines_report_nothing(desk: Desk, text: str) -> None:
    desk.add(text)
    assert desk.read(final=True) == []


def test_a_response_without_a_request_id_is_named_by_its_message(desk: Desk) -> None:
    desk.add(line(1, 7, requestId=None))
    assert counted(desk.read(final=True)) == {"msg_1": 7}


def test_a_pipe_in_place_of_a_transcript_is_not_waited_for(desk: Desk) -> None:
    os.mkfifo(desk.path)
    assert desk.read(final=True) == []


@pytest.mark.parametrize("seed", range(20))
def test_however_it_is_cut_the_sum_is_the_same(desk: Desk, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A growing file read at random moments, in small pieces, with the state lost now and then."""
    randomness = random.Random(seed)
    text = "".join(
        line(number, output)
        for number in range(20)
        for output in sorted(randomness.randint(1, 500) for _ in range(randomness.randint(1, 4)))
    )
    largest: dict[str, int] = {}
    for entry in map(json.loads, text.splitlines()):
        tokens = entry["message"]["usage"]["output_tokens"]
        largest[entry["requestId"]] = max(tokens, largest.get(entry["requestId"], 0))
    monkeypatch.setattr(transcripts, "READ_BYTES", randomness.choice((700, 2_000, 10**6)))
    found: dict[str, dict[str, int]] = {}
    ids: dict[str, str] = {}
    while text:
        size = randomness.randint(1, 900)
        desk.add(text[:size])
        text = text[size:]
        for event in desk.read(final=not text):
            found.setdefault(event["id"], counted([event]))
            ids[event["data"]["request_id"]] = event["id"]
    assert {name: found[ids[name]][name] for name in ids} == largest
