"""``hookbus doctor`` on a working installation is green, and red for each planted fault, with what to do."""

import json
import os
import stat
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from support.hookbus_command import COMMAND
from support.scripted_gateway import Request, Response, Script, ScriptedGateway, decision, problem

AWAY = "http://127.0.0.1:9"


def judge(request: Request) -> Response | None:
    """What a healthy gateway says of the doctor's two commands."""
    if request.path.startswith("/otlp/"):
        return Response(200, {})
    if request.path == "/api/v1/decide" and "rm -rf /" in json.dumps(request.body):
        return Response(200, decision(request.body["id"], "deny", "it would wipe the file system", "command_refused"))
    return None


@dataclass
class Patient:
    """An installation, and what is wrong with it."""

    home: Path
    gateway: ScriptedGateway
    environ: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def settings(self) -> Path:
        return self.home / ".claude" / "settings.json"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "HOOKBUS_DATA_DIR": str(self.home / "data"),
            "HOOKBUS_API_KEY": "hbk_test",
            "HOOKBUS_URL": self.gateway.url,
            **self.environ,
        }
        return subprocess.run(
            [str(COMMAND), *arguments],
            env=environ,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the PreToolUse handler as it stands in the settings."""
        settings = json.loads(self.settings.read_text(encoding="utf-8"))
        change(settings["hooks"]["PreToolUse"][0]["hooks"][0])
        self.settings.write_text(json.dumps(settings), encoding="utf-8")

    def use(self, program: Path) -> None:
        """Let every hook start another program."""
        text = self.settings.read_text(encoding="utf-8")
        self.settings.write_text(text.replace(str(COMMAND), str(program)), encoding="utf-8")

    def red(self) -> list[dict[str, Any]]:
        done = self.run("doctor", "--json")
        found = [one for one in json.loads(done.stdout) if not one["ok"]]
        assert done.returncode == (1 if found else 0)
        assert all(one["remedy"] for one in found)
        return found


@pytest.fixture
def patient(tmp_path: Path) -> Generator[Patient]:
    with ScriptedGateway(judge) as gateway:
        made = Patient(tmp_path, gateway)
        assert made.run("install", "claude-code", "--no-telemetry").returncode == 0
        yield made


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", ["open", "closed", "cached"])
def test_a_working_installation_is_green(patient: Patient, mode: str) -> None:
    for agent in ("claude-code", "codex", "gemini", "cursor", "copilot"):
        assert patient.run("install", agent, "--fail-mode", mode, "--no-telemetry").returncode == 0
    assert patient.red() == []
    done = patient.run("doctor")
    assert "`rm -rf /` is denied" in done.stdout
    assert "FAIL" not in done.stdout
    assert [one.name for one in (patient.home / "data" / "spool").iterdir()] == ["append.lock"]


def test_each_run_has_a_session_of_its_own_so_that_one_killed_for_its_denials_judges_no_other(patient: Patient) -> None:
    runs: list[set[str]] = []
    for _ in range(2):
        patient.gateway.requests.clear()
        assert patient.red() == []
        runs.append({one.body["session"] for one in patient.gateway.requests if one.path == "/api/v1/decide"})
    assert runs[0]
    assert not runs[0] & runs[1]


def nothing_installed(patient: Patient) -> None:
    patient.run("uninstall", "claude-code")


def missing_exec_bit(patient: Patient) -> None:
    text = f'#!/bin/sh\nexec {COMMAND} "$@"\n'
    patient.use(script(patient.home / "hookbus", text, stat.S_IRUSR | stat.S_IWUSR))


def wrong_path(patient: Patient) -> None:
    patient.use(patient.home / "gone" / "hookbus")


def broken_python(patient: Patient) -> None:
    patient.use(script(patient.home / "hookbus", '#!/bin/sh\necho "can\'t open file" >&2\nexit 2\n'))


def malformed_answer(patient: Patient) -> None:
    patient.use(script(patient.home / "hookbus", "#!/bin/sh\necho deny\n"))


def no_denial(patient: Patient) -> None:
    patient.use(script(patient.home / "hookbus", "#!/bin/sh\ncat > /dev/null\n"))


def answers(*planted: Script) -> Callable[[Patient], None]:
    def plant(patient: Patient) -> None:
        patient.gateway.script = planted[0]

    return plant


def allows_all(request: Request) -> Response | None:
    return Response(200, {}) if request.path.startswith("/otlp/") else None


def denies_all(request: Request) -> Response | None:
    """A killed session, a spent budget."""
    if request.path == "/api/v1/decide":
        return Response(200, decision(request.body["id"], "deny", "the tokens are spent", "tokens_exhausted"))
    return judge(request)


def denies_harmless(request: Request) -> Response | None:
    """As above, where the guard has objected before the budget was asked."""
    refused = judge(request)
    return refused if refused is not None else denies_all(request)


def asks_always(request: Request) -> Response | None:
    known = judge(request)
    if known is None and request.path == "/api/v1/decide":
        return Response(200, decision(request.body["id"], "ask", "the session looks stolen", "session_risk"))
    return known


def other_clock(request: Request) -> Response | None:
    if request.path.startswith("/otlp/"):
        return Response(200, {}, {"date": formatdate(1_000_000_000, usegmt=True)})
    return judge(request)


def short_timeout(patient: Patient) -> None:
    patient.edit(lambda handler: handler.update(timeout=1))


def fails_open_unnoticed(patient: Patient) -> None:
    patient.environ["HOOKBUS_FAIL_MODE"] = "closed"


def spool_unwritable(patient: Patient) -> None:
    folder = patient.home / "data" / "spool"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where a folder should be", encoding="utf-8")


def lock_unusable(patient: Patient) -> None:
    (patient.home / "data" / "spool" / "append.lock").mkdir(parents=True)


def spool_full(patient: Patient) -> None:
    folder = patient.home / "data" / "spool"
    folder.mkdir(parents=True)
    with (folder / "00000000000000000001.seg").open("wb") as file:
        file.truncate(60 * 1024 * 1024)


def spool_rejected(patient: Patient) -> None:
    folder = patient.home / "data" / "spool"
    folder.mkdir(parents=True)
    (folder / "rejected.jsonl").write_text("{}\n", encoding="utf-8")


def gateway_away(patient: Patient) -> None:
    patient.environ["HOOKBUS_URL"] = AWAY


def denials_forgotten(patient: Patient) -> None:
    """A hook that keeps its data elsewhere each time remembers nothing."""
    text = f'#!/bin/sh\nHOOKBUS_DATA_DIR=$(mktemp -d) exec {COMMAND} "$@"\n'
    patient.run("install", "claude-code", "--fail-mode", "cached", "--no-telemetry")
    patient.use(script(patient.home / "hookbus", text))


def key_unusable(patient: Patient) -> None:
    patient.environ["HOOKBUS_SPOOL_KEY_FILE"] = str(patient.home / "absent.key")


def sealed_otherwise(patient: Patient) -> None:
    folder = patient.home / "data" / "spool"
    folder.mkdir(parents=True)
    (folder / "0123abcd.aside").write_text("2 00000000 0123abcd AAAA\n", encoding="utf-8")


def bad_setting(patient: Patient) -> None:
    patient.environ["HOOKBUS_AGENT_ID"] = "not legal"


def unreadable_settings(patient: Patient) -> None:
    patient.settings.write_text("{", encoding="utf-8")


def long_deadline(patient: Patient) -> None:
    program = f'#!/bin/sh\ncase $HOOKBUS_URL in *:9) sleep 5;; esac\nexec {COMMAND} "$@"\n'
    patient.use(script(patient.home / "hookbus", program))


FAULTS: dict[str, tuple[Callable[[Patient], None], str, str]] = {
    "nothing installed": (nothing_installed, "installed", "no agent's settings name hookbus"),
    "missing exec bit": (missing_exec_bit, "claude-code hooks", "may not be executed"),
    "wrong path": (wrong_path, "claude-code hooks", "does not exist"),
    "python does not start": (broken_python, "claude-code guard", "exits 2"),
    "malformed answer": (malformed_answer, "claude-code guard", "not a JSON object"),
    "nothing is denied": (no_denial, "claude-code guard", "is not denied"),
    "another server": (answers(lambda _: Response(404)), "gateway", "answers 404"),
    "it allows all": (answers(allows_all), "claude-code guard", "is not denied"),
    "it denies all for another reason": (answers(denies_all), "claude-code guard", "denied, but not for what it is"),
    "it denies what is harmless": (
        answers(denies_harmless),
        "claude-code guard",
        "(`true`) is denied: hookbus: the to",
    ),
    "it asks about all": (answers(asks_always), "claude-code guard", "(`true`) is asked about: hookbus: the session"),
    "bad key": (answers(lambda _: problem(401, "unauthenticated")), "key", "refuses the API key"),
    "key without scope": (answers(lambda _: problem(403, "forbidden")), "key", "lacks the scope"),
    "clock off": (answers(other_clock), "clock", "differs"),
    "timeout below need": (short_timeout, "claude-code hooks", "may take 1 s and needs 3 s"),
    "fails open unnoticed": (fails_open_unnoticed, "claude-code hooks", "though the fail mode is closed"),
    "spool unwritable": (spool_unwritable, "spool", "cannot be written"),
    "spool lock unusable": (lock_unusable, "spool", "cannot be written"),
    "spool full": (spool_full, "spool", "bytes are taken"),
    "spool rejected": (spool_rejected, "spool", "1 events were refused"),
    "gateway away": (gateway_away, "gateway", "does not answer"),
    "bad setting": (bad_setting, "client", "HOOKBUS_AGENT_ID"),
    "settings unreadable": (unreadable_settings, "settings", "not JSON"),
    "denials forgotten": (denials_forgotten, "claude-code guard, gateway away", "gets no objection"),
    "spool key unusable": (key_unusable, "spool", "cannot be read"),
    "sealed with another key": (sealed_otherwise, "spool", "sealed with another key: 0123abcd"),
    "slow without the gateway": (long_deadline, "claude-code guard, gateway away", "it takes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_goes_red_and_says_what_to_do(patient: Patient, name: str) -> None:
    plant, check, words = FAULTS[name]
    plant(patient)
    red = patient.red()
    assert any(one["check"] == check and words in one["detail"] for one in red), red


def test_an_unknown_agent_is_wrong_usage(patient: Patient) -> None:
    assert patient.run("doctor", "nobody").returncode == 2
