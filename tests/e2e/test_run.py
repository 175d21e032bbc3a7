"""``hookbus run`` on the real stack: decided first, run in its folder, recorded in the session's tables, none left."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.alive import alive
from support.events import unique
from support.hookbus_command import COMMAND
from support.stack import StackFixture
from support.waiting import eventually

WAIT_S = 60.0
OUTPUT_BYTES_MAX = 1024 * 1024
API_DOWN = "http://127.0.0.1:9"


@dataclass
class Runner:
    """The command in a workspace of its own, under an agent and a session of its own."""

    stack: StackFixture
    root: Path
    agent: str
    session: str

    def environment(self, **more: str) -> dict[str, str]:
        return {**self.stack.environment, "HOME": str(self.root), "SECRET_TOKEN": "do-not-pass", **more}

    def arguments(self, *options: str, argv: tuple[str, ...]) -> list[str]:
        own = ["--root", str(self.root), "--agent", self.agent, "--session", self.session]
        return [str(COMMAND), "run", *own, *options, "--", *argv]

    def __call__(
        self, *argv: str, options: tuple[str, ...] = (), more: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            self.arguments(*options, argv=argv),
            env=self.environment(**(more or {})),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )

    def start(self, *argv: str, options: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.arguments(*options, argv=argv),
            env=self.environment(),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        answer = httpx.get(f"{self.stack.url}{path}", params=parameters, headers=self.stack.headers, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def terminals(self) -> list[dict[str, Any]]:
        return self.get("/api/v1/terminals", session=self.session)["terminals"]

    async def closed(self) -> dict[str, Any]:
        """The session's only terminal, once its end has arrived."""

        def there() -> bool:
            found = self.terminals()
            return len(found) == 1 and "closed_at" in found[0]

        await eventually(there, WAIT_S)
        return self.terminals()[0]

    def output(self, terminal: dict[str, Any]) -> list[dict[str, Any]]:
        path = f"/api/v1/terminals/{self.agent}/{terminal['id']}"
        page = self.get(path)
        pieces = page["output"]
        while "next" in page:
            page = self.get(path, after=page["next"])
            pieces += page["output"]
        return pieces

    def text(self, terminal: dict[str, Any], stream: str = "stdout") -> str:
        return "".join(piece["text"] for piece in self.output(terminal) if piece["stream"] == stream)


@pytest.fixture
def guarded(stack: StackFixture, tmp_path: Path) -> Runner:
    root = tmp_path.resolve() / "web"
    (root / "src").mkdir(parents=True)
    return Runner(stack, root, unique("agent"), unique("s"))


async def test_a_command_runs_in_its_folder_and_is_recorded(guarded: Runner) -> None:
    """Both streams and the exit code reach the caller at once and the tables soon; the words stay words."""
    script = 'pwd; printf "%s" "$1"; echo oops >&2; printenv SECRET_TOKEN HOOKBUS_API_KEY; exit 7'
    done = guarded("sh", "-c", script, "sh", "$(id) `id`; rm -rf /", options=("--shell", "sh", "--cwd", "src"))
    expected = f"{guarded.root}/src\n$(id) `id`; rm -rf /"
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (7, expected, "oops\n")
    terminal = await guarded.closed()
    assert (terminal["shell"], terminal["cwd"], terminal["exit_code"]) == ("sh", f"{guarded.root}/src", 7)
    assert (terminal["agent_id"], terminal["session"], terminal["truncated"]) == (guarded.agent, guarded.session, False)
    assert (guarded.text(terminal), guarded.text(terminal, "stderr")) == (expected, "oops\n")
    shown = subprocess.run(
        [str(COMMAND), "session", "terminal", terminal["id"], "--agent", guarded.agent],
        env=guarded.environment(),
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (shown.returncode, shown.stdout.decode().replace("oops\n", "")) == (0, expected)


async def test_a_denied_command_does_not_run(guarded: Runner) -> None:
    mark = guarded.root / "mark"
    done = guarded("sh", "-c", f"touch {mark}; rm -rf /etc")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"command_refused" in done.stderr
    assert not mark.exists()
    assert guarded.terminals() == []


async def test_a_killed_session_runs_nothing_more(guarded: Runner) -> None:
    assert guarded("true").returncode == 0

    def killed() -> bool:
        url = f"{guarded.stack.url}/api/v1/sessions/{guarded.session}/kill"
        return httpx.post(url, json={"reason": "test"}, headers=guarded.stack.headers, timeout=10).status_code == 200

    await eventually(killed, WAIT_S)
    mark = guarded.root / "mark"
    done = guarded("touch", str(mark))
    assert done.returncode == 1
    assert b"session_terminated" in done.stderr
    assert not mark.exists()


@pytest.mark.parametrize("cwd", ["..", "out", "fifo"])
async def test_a_folder_outside_or_no_folder_is_refused(guarded: Runner, cwd: str) -> None:
    (guarded.root / "out").symlink_to("/etc")
    os.mkfifo(guarded.root / "fifo")
    done = guarded("pwd", options=("--cwd", cwd))
    assert done.returncode in (1, 2)
    assert done.stdout == b""


@pytest.mark.parametrize("options", [("--shell", "fish"), ("--shell", "/bin/sh"), ("--env", "LD_PRELOAD")])
async def test_other_shells_and_loader_variables_are_wrong_usage(guarded: Runner, options: tuple[str, ...]) -> None:
    done = guarded("true", options=options)
    assert (done.returncode, done.stdout) == (2, b"")


async def test_huge_output_passes_whole_and_is_recorded_up_to_its_bound(guarded: Runner) -> None:
    size = 5 * OUTPUT_BYTES_MAX
    done = guarded("head", "-c", str(size), "/dev/zero")
    assert (done.returncode, len(done.stdout)) == (0, size)
    terminal = await guarded.closed()
    assert terminal["truncated"] is True
    assert len(guarded.text(terminal)) <= OUTPUT_BYTES_MAX
    assert len(guarded.text(terminal)) > OUTPUT_BYTES_MAX // 4


async def test_binary_output_passes_unchanged_and_is_readable_in_the_record(guarded: Runner) -> None:
    content = bytes(range(256)) * 64 + "ü".encode()[:1]
    (guarded.root / "binary").write_bytes(content)
    done = guarded("cat", "binary")
    assert (done.returncode, done.stdout) == (0, content)
    text = guarded.text(await guarded.closed())
    assert "ABC" in text
    assert "\x00" not in text
    assert text.endswith("\ufffd")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_the_command_and_all_it_started(guarded: Runner, number: signal.Signals) -> None:
    """Also what ran away into a session of its own."""
    note = guarded.root / "pids"
    script = f"setsid sleep 600 & echo $! >> {note}; sleep 600 & echo $! >> {note}; echo $$ >> {note}; wait"
    process = guarded.start("bash", "-c", script)
    await eventually(lambda: note.exists() and len(note.read_text().split()) == 3, WAIT_S)
    process.send_signal(number)
    assert process.wait(WAIT_S) == 128 + number
    pids = [int(word) for word in note.read_text().split()]
    await eventually(lambda: not any(map(alive, pids)), WAIT_S)
    assert (await guarded.closed())["exit_code"] == 128 + number


async def test_what_a_command_leaves_behind_is_ended_with_it(guarded: Runner) -> None:
    note = guarded.root / "pid"
    done = guarded("bash", "-c", f"(setsid sleep 600 & echo $! > {note}); echo done")
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert not alive(int(note.read_text()))


async def test_a_killed_runner_takes_its_command_along(guarded: Runner) -> None:
    note = guarded.root / "pid"
    process = guarded.start("sh", "-c", f"echo $$ > {note}; exec sleep 600")
    await eventually(lambda: note.exists() and note.read_text().strip() != "", WAIT_S)
    process.kill()
    process.wait(WAIT_S)
    await eventually(lambda: not alive(int(note.read_text())), WAIT_S)


async def test_a_command_that_takes_too_long_is_ended(guarded: Runner) -> None:
    began_s = time.monotonic()
    done = guarded("sleep", "600", options=("--timeout", "0.5"))
    assert done.returncode == 124
    assert time.monotonic() - began_s < WAIT_S
    assert (await guarded.closed())["exit_code"] == 124


async def test_without_a_gateway_the_record_waits_in_the_spool(guarded: Runner, tmp_path: Path) -> None:
    """Fail mode open runs and says so; what was printed lies in the spool. Fail mode closed refuses."""
    data = tmp_path / "data"
    away = {"HOOKBUS_URL": API_DOWN, "HOOKBUS_DATA_DIR": str(data), "HOOKBUS_DEADLINE_S": "1"}
    done = guarded("echo", "hello", more=away)
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    assert b"degraded" in done.stderr
    spooled = b"".join(path.read_bytes() for path in (data / "spool").glob("*.seg"))
    for kind in (b"pre-task", b"terminal-opened", b"terminal-output", b"terminal-closed", b"post-task"):
        assert kind in spooled
    assert b"hello" in spooled
    closed = guarded("echo", "hello", more={**away, "HOOKBUS_FAIL_MODE": "closed"})
    assert (closed.returncode, closed.stdout) == (1, b"")
    # What waits is sent later, under the same ids, to the gateway that is there.
    flushed = subprocess.run(
        [str(COMMAND), "spool", "flush", "--json"],
        env=guarded.environment(HOOKBUS_URL=guarded.stack.url, HOOKBUS_DATA_DIR=str(data))
        | {"HOOKBUS_API_KEY": guarded.stack.api_key},
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert flushed.returncode == 0, flushed.stderr
    terminal = await guarded.closed()
    assert guarded.text(terminal) == "hello\n"


async def test_a_terminal_nobody_opened_is_not_found(guarded: Runner) -> None:
    url = f"{guarded.stack.url}/api/v1/terminals/{guarded.agent}/nothing"
    answer = httpx.get(url, headers=guarded.stack.headers, timeout=10)
    assert (answer.status_code, json.loads(answer.text)["code"]) == (404, "not_found")
