"""``hookbus run`` where its own output fails it: the command goes on, its record is whole, what it held is back."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.alive import alive
from support.hookbus_command import COMMAND
from support.scripted_gateway import Request, ScriptedGateway

from hookbus.client.compactjson import dumps
from hookbus.contracts import limits

LONGEST_NAME = "n" * 64
LONGEST_CHARACTER = "\U0001f600"
CHARACTERS = 60_000
FAULTY = """
from hookbus.cli import main
from hookbus.cli.runner.recording import Recorder

def add(self, stream, content):
    raise RuntimeError("planted")

Recorder.add = add
main.main()
"""


@pytest.fixture
def gateway() -> Generator[ScriptedGateway]:
    with ScriptedGateway() as running:
        yield running


def run(
    gateway: ScriptedGateway,
    tmp_path: Path,
    *argv: str,
    stdout: int = subprocess.PIPE,
    program: tuple[str, ...] = (str(COMMAND),),
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*program, "run", "--agent", LONGEST_NAME, "--session", "s" * 128, "--", *argv],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HOOKBUS_DATA_DIR": str(tmp_path / "data"),
            "HOOKBUS_API_KEY": "hbk_test",
            "HOOKBUS_URL": gateway.url,
            "HOOKBUS_PROJECT": LONGEST_NAME,
        },
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )


def of_kind(gateway: ScriptedGateway, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in gateway.events if event["kind"] == kind]


def recorded(gateway: ScriptedGateway) -> str:
    return "".join(data["text"] for data in of_kind(gateway, "terminal-output"))


def hung_up() -> int:
    """A terminal whose other side is gone, as after a lost connection."""
    master, slave = pty.openpty()
    os.close(master)
    return slave


@pytest.mark.parametrize("broken", ["a terminal hung up", "a full disk"])
def test_output_that_cannot_be_written_ends_neither_the_command_nor_its_record(
    gateway: ScriptedGateway, tmp_path: Path, broken: str
) -> None:
    target = hung_up() if broken == "a terminal hung up" else os.open("/dev/full", os.O_WRONLY)
    mark = tmp_path / "mark"
    try:
        done = run(gateway, tmp_path, "sh", "-c", f"echo one; sleep 0.3; echo two; touch {mark}; exit 7", stdout=target)
    finally:
        os.close(target)
    assert mark.exists()
    assert done.returncode == 7
    assert b"not all of its stdout could be passed on" in done.stderr
    assert b"Traceback" not in done.stderr
    assert recorded(gateway) == "one\ntwo\n"
    assert [data["exit_code"] for data in of_kind(gateway, "terminal-closed")] == [7]
    (settled,) = of_kind(gateway, "post-task")
    (decided,) = [request.body for request in gateway.requests if request.path == "/api/v1/decide"]
    assert (settled["operation_id"], settled["status"]) == (decided["data"]["operation_id"], "failed")


def test_a_stdout_closed_by_the_caller_ends_nothing_either(gateway: ScriptedGateway, tmp_path: Path) -> None:
    done = run(gateway, tmp_path, "echo", "hello", program=("/bin/sh", "-c", 'exec "$@" >&-', "sh", str(COMMAND)))
    assert (done.returncode, done.stderr) == (0, b"")
    assert recorded(gateway) == "hello\n"


def test_a_reader_that_has_seen_enough_is_no_fault(gateway: ScriptedGateway, tmp_path: Path) -> None:
    shell = ("/bin/sh", "-c", '{ "$@"; echo "$?" >&2; } | head -1', "sh")
    done = run(gateway, tmp_path, "seq", "100000", program=(*shell, str(COMMAND)))
    assert (done.stdout, done.stderr) == (b"1\n", b"0\n")
    assert len(of_kind(gateway, "terminal-closed")) == 1


def test_output_passes_whole_to_a_reader_that_does_not_wait(gateway: ScriptedGateway, tmp_path: Path) -> None:
    """A pipe that another program has set to non-blocking refuses what it has no room for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(["/bin/sh", "-c", "sleep 1; wc -c"], stdin=reading, stdout=subprocess.PIPE) as counting:
        os.close(reading)
        done = run(gateway, tmp_path, "head", "-c", "1000000", "/dev/zero", stdout=writing)
        os.close(writing)
        assert counting.stdout is not None
        assert counting.stdout.read().strip() == b"1000000"
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_part_of_the_output_fits_an_event_whatever_its_characters(
    gateway: ScriptedGateway, tmp_path: Path
) -> None:
    """Measured as it is sent, with the longest names that an event can carry."""
    (tmp_path / "smiles").write_text(LONGEST_CHARACTER * CHARACTERS, encoding="utf-8")
    done = run(gateway, tmp_path, "cat", "smiles")
    assert done.returncode == 0
    sizes = [len(dumps(event)) for event in gateway.events if event["kind"] == "terminal-output"]
    assert recorded(gateway) == LONGEST_CHARACTER * CHARACTERS
    assert limits.EVENT_BYTES_MAX * 3 // 4 < max(sizes) < limits.EVENT_BYTES_MAX - 16 * 1024


def test_a_fault_of_the_runner_itself_ends_the_command_and_closes_its_record(
    gateway: ScriptedGateway, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    living: list[bool] = []

    def watch(request: Request) -> None:
        if "terminal-closed" in json.dumps(request.body):
            living.append(alive(int(note.read_text(encoding="utf-8"))))

    gateway.script = watch
    script = f"echo $$ > {note}; echo said; exec sleep 600"
    done = run(gateway, tmp_path, "sh", "-c", script, program=(sys.executable, "-c", FAULTY))
    assert b"planted" in done.stderr
    assert living == [False]
    assert [data["exit_code"] for data in of_kind(gateway, "terminal-closed")] == [128 + signal.SIGKILL]
    assert [data["status"] for data in of_kind(gateway, "post-task")] == ["failed"]
