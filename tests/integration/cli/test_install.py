"""``hookbus install`` and ``uninstall`` as a person runs them, on settings files as people have them."""

import json
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.hookbus_command import COMMAND
from typer.testing import CliRunner

from hookbus.cli.errors import CliError
from hookbus.cli.install import jsontext
from hookbus.cli.install.agents import AGENTS, Scope, settings_path
from hookbus.cli.main import app

KEY = "hbk_abcdefghijkl_" + "s" * 43
OTHERS = {"matcher": "Bash", "hooks": [{"type": "command", "command": "~/guard.sh hook claude-code"}]}
FILES: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "braces": "{}",
    "two spaces": json.dumps({"model": "x", "hooks": {"PreToolUse": [OTHERS]}, "env": {"A": "1"}}, indent=2) + "\n",
    "tabs, no end of line": json.dumps({"hooks": {"Stop": []}, "permissions": {"allow": ["a"]}}, indent="\t"),
    "one line": json.dumps({"hooks": {}, "z": [1, 2, 3]}),
    "windows": json.dumps({"b": {"c": "é ü"}}, indent=4, ensure_ascii=False).replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + json.dumps({"a": 1}, indent=2) + "\n",
    "comments": '// mine\n{\n  "hooks": { // kept\n    "BeforeTool": [ /* none yet */ ],\n  },\n}\n',
}


@dataclass(frozen=True)
class Done:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Desk:
    """A home, a project, and the command, run inside this process: a process for each takes its time."""

    home: Path
    project: Path
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str) -> Done:
        environ = {
            "HOME": str(self.home),
            "HOOKBUS_DATA_DIR": str(self.home / "data"),
            "HOOKBUS_API_KEY": KEY,
            "HOOKBUS_URL": "http://127.0.0.1:8787",
        }
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.chdir(self.project)
        result = CliRunner().invoke(app, list(arguments))
        error = result.exception
        if isinstance(error, CliError):
            return Done(error.code, result.stdout, error.message)
        assert error is None or isinstance(error, SystemExit), result.exc_info
        return Done(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def settings(self, agent: str, scope: str = "user") -> Path:
        return settings_path(agent, Scope(scope), home=self.home, project=self.project)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    return Desk(tmp_path / "home", tmp_path / "project", monkeypatch)


def write(path: Path, text: str | None) -> bytes | None:
    if text is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return text.encode()


def value(path: Path) -> Any:
    return jsontext.parse(path.read_text(encoding="utf-8")).value


@pytest.mark.parametrize("agent", AGENTS)
def test_install_then_uninstall_leaves_the_file_byte_identical(desk: Desk, agent: str) -> None:
    for scope in ("user", "project"):
        for name, text in FILES.items():
            path = desk.settings(agent, scope)
            path.unlink(missing_ok=True)
            before = write(path, text)
            desk.ok("install", agent, "--scope", scope)
            installed = path.read_bytes()
            assert installed != before, name
            assert "hooks" in value(path)
            assert "nothing to change" in desk.ok("install", agent, "--scope", scope)
            assert path.read_bytes() == installed
            desk.ok("uninstall", agent, "--scope", scope)
            assert (path.read_bytes() if path.exists() else None) == before, name
            left = sorted(one.name for one in path.parent.iterdir() if one.suffix != ".toml")
            assert left == ([path.name] if before is not None else [])


@pytest.mark.parametrize("agent", AGENTS)
def test_a_windows_file_keeps_its_line_ends(desk: Desk, agent: str) -> None:
    path = desk.settings(agent)
    write(path, FILES["windows"])
    desk.ok("install", agent)
    installed = path.read_bytes()
    assert installed.count(b"\n") == installed.count(b"\r\n") > FILES["windows"].count("\n")  # pyright: ignore[reportOptionalMemberAccess]


def test_a_windows_toml_keeps_its_line_ends(desk: Desk) -> None:
    path = desk.home / ".codex" / "config.toml"
    before = write(path, '# mine\r\nmodel = "x"\r\n')
    desk.ok("install", "codex")
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n") > 2
    assert "otel" in tomllib.loads(path.read_text(encoding="utf-8"))
    desk.ok("uninstall", "codex")
    assert path.read_bytes() == before


def test_an_installation_by_an_older_path_is_replaced_and_its_file_keeps_its_comments(desk: Desk) -> None:
    """Nothing is known of it here: another data folder, another machine's backup."""
    path = desk.settings("gemini")
    old = {"type": "command", "command": "/old/bin/hookbus hook gemini", "timeout": 5000}
    write(
        path, f'{{\n  "hooks": {{\n    // none of mine\n    "AfterTool": [{{"hooks": [{json.dumps(old)}]}}]\n  }}\n}}\n'
    )
    desk.ok("install", "gemini")
    assert "/old/bin" not in path.read_text(encoding="utf-8")
    assert value(path)["hooks"]["AfterTool"][0]["hooks"][0]["command"].endswith("/hookbus hook gemini")
    (desk.home / "data").rename(desk.home / "lost")
    desk.ok("uninstall", "gemini")
    assert path.read_text(encoding="utf-8").count("// none of mine") == 1
    assert value(path) == {"hooks": {}}


@pytest.mark.parametrize("agent", AGENTS)
def test_what_others_wrote_meanwhile_stays(desk: Desk, agent: str) -> None:
    path = desk.settings(agent)
    write(path, FILES["two spaces"])
    desk.ok("install", agent)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"model": "x"', '"model": "y", "mine": true'), encoding="utf-8")
    desk.ok("install", agent, "--fail-mode", "closed")
    desk.ok("uninstall", agent)
    left = value(path)
    left.pop("version", None)
    assert left == {"model": "y", "mine": True, "hooks": {"PreToolUse": [OTHERS]}, "env": {"A": "1"}}


def test_claude_code(desk: Desk) -> None:
    path = desk.settings("claude-code")
    desk.ok("install", "claude-code", "--fail-mode", "closed", "--agent-id", "mine")
    settings = value(path)
    (group,) = settings["hooks"]["PreToolUse"]
    (handler,) = group["hooks"]
    assert (group["matcher"], handler["type"], handler["onFailure"]) == ("*", "command", "block")
    assert handler["command"] == f"HOOKBUS_FAIL_MODE=closed HOOKBUS_AGENT_ID=mine {COMMAND} hook claude-code"
    assert settings["hooks"]["SessionEnd"][0]["hooks"][0]["timeout"] <= 1.5
    assert "onFailure" not in settings["hooks"]["PostToolUse"][0]["hooks"][0]
    env = settings["env"]
    assert env["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] == "http://127.0.0.1:8787/otlp/v1/logs"
    assert env["OTEL_EXPORTER_OTLP_LOGS_HEADERS"] == f"Authorization=Bearer {KEY},x-hookbus-agent=mine"
    assert path.stat().st_mode & 0o077 == 0


def test_claude_code_over_http_starts_its_session_by_command(desk: Desk) -> None:
    desk.ok("install", "claude-code", "--mode", "http", "--fail-mode", "closed", "--agent-id", "mine", "--no-telemetry")
    settings = value(desk.settings("claude-code"))
    assert settings["hooks"]["SessionStart"][0]["hooks"][0]["type"] == "command"
    handler = settings["hooks"]["PreToolUse"][0]["hooks"][0]
    assert handler["url"] == "http://127.0.0.1:8787/api/v1/hooks/claude-code?agent_id=mine&fail_mode=closed"
    assert handler["allowedEnvVars"] == ["HOOKBUS_API_KEY"]
    assert "env" not in settings
    assert KEY not in desk.settings("claude-code").read_text(encoding="utf-8")


def test_a_project_gets_no_key_and_a_variable_of_others_stays(desk: Desk) -> None:
    path = desk.settings("claude-code", "project")
    write(path, json.dumps({"env": {"OTEL_LOGS_EXPORTER": "console"}}))
    out = desk.ok("install", "claude-code", "--scope", "project")
    assert "sets OTEL_LOGS_EXPORTER itself" in out
    assert value(path)["env"]["OTEL_LOGS_EXPORTER"] == "console"
    assert KEY not in path.read_text(encoding="utf-8")
    assert KEY not in out


def test_a_dry_run_shows_the_change_without_the_key_and_makes_none(desk: Desk) -> None:
    before = write(desk.settings("claude-code"), FILES["two spaces"])
    out = desk.ok("install", "claude-code", "--dry-run")
    assert "+" in out
    assert "hook claude-code" in out
    assert KEY not in out
    assert desk.settings("claude-code").read_bytes() == before
    assert not (desk.home / "data").exists()


def test_codex_keeps_the_comments_of_its_toml(desk: Desk) -> None:
    path = desk.home / ".codex" / "config.toml"
    before = write(path, '# mine\nmodel = "gpt-5"   # best\n\n[tui]\nx = [1,  2]\n')
    desk.ok("install", "codex", "--agent-id", "mine")
    text = path.read_text(encoding="utf-8")
    assert "# mine" in text
    http = tomllib.loads(text)["otel"]["exporter"]["otlp-http"]
    assert http["endpoint"] == "http://127.0.0.1:8787/otlp/v1/logs"
    assert KEY not in text
    path.write_text(text.replace("best", "better"), encoding="utf-8")
    desk.ok("uninstall", "codex")
    assert path.read_text(encoding="utf-8").strip() == (before or b"").decode().replace("best", "better").strip()
    write(path, '[otel]\nexporter = "none"\n')
    assert "[otel] table of its own" in desk.ok("install", "codex")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["otel"] == {"exporter": "none"}


def test_cursor_and_copilot_have_their_own_words(desk: Desk) -> None:
    desk.ok("install", "cursor", "--fail-mode", "closed")
    cursor = value(desk.settings("cursor"))
    assert (cursor["version"], cursor["hooks"]["beforeShellExecution"][0]["failClosed"]) == (1, True)
    desk.ok("install", "copilot", "--scope", "project")
    copilot = value(desk.settings("copilot", "project"))
    assert copilot["hooks"]["preToolUse"][0]["bash"] == f"{COMMAND} hook copilot preToolUse"


@pytest.mark.parametrize("text", ["{", "[]", '{"hooks": []}', '{"hooks": {"Stop": {}}}', "\xff"])
def test_a_file_that_is_no_settings_file_is_left_alone(desk: Desk, text: str) -> None:
    path = desk.settings("claude-code")
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    done = desk.run("install", "claude-code")
    assert (done.returncode, path.read_bytes()) == (1, text.encode("latin-1"))
    assert "nothing was changed" in done.stderr


def test_a_link_is_followed_and_stays_one(desk: Desk) -> None:
    real = desk.home / "dotfiles.json"
    real.write_text("{}", encoding="utf-8")
    path = desk.settings("gemini")
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    desk.ok("install", "gemini")
    assert path.is_symlink()
    assert "hooks" in value(real)
    desk.ok("uninstall", "gemini")
    assert real.read_text(encoding="utf-8") == "{}"


def test_wrong_usage(desk: Desk) -> None:
    for arguments in (
        ["nobody"],
        ["codex", "--mode", "http"],
        ["codex", "--fail-mode", "x"],
        ["codex", "--agent-id", " "],
    ):
        assert desk.run("install", *arguments).returncode == 2


def test_the_installed_command_answers_as_the_agent_runs_it(desk: Desk) -> None:
    desk.ok("install", "claude-code", "--fail-mode", "closed")
    command = value(desk.settings("claude-code"))["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
    payload = {"hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Bash", "tool_input": {"command": "ls"}}
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        input=json.dumps(payload),
        env={"PATH": "/usr/bin:/bin", "HOME": str(desk.home), "HOOKBUS_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert json.loads(done.stdout)["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_a_plugin_folder(desk: Desk) -> None:
    folder = desk.home / "plugin"
    desk.ok("plugin", str(folder))
    hooks = json.loads((folder / "hooks" / "hooks.json").read_text(encoding="utf-8"))["hooks"]
    assert hooks["PreToolUse"][0]["hooks"][0]["command"].endswith("hook claude-code")
    assert json.loads((folder / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))["name"] == "hookbus"
    assert desk.run("plugin", str(folder)).returncode == 1


@pytest.mark.parametrize("mode", ["cached", "open,pre-task=cached,prompt=closed"])
def test_a_fail_mode_that_remembers_denials_is_told_to_the_hook_and_does_not_block_what_cannot_start(
    desk: Desk, mode: str
) -> None:
    desk.ok("install", "claude-code", "--fail-mode", mode)
    (handler,) = value(desk.settings("claude-code"))["hooks"]["PreToolUse"][0]["hooks"]
    assert handler["command"] == f"HOOKBUS_FAIL_MODE={mode} {COMMAND} hook claude-code"
    assert "onFailure" not in handler


@pytest.mark.parametrize("arguments", [("--fail-mode", "shut"), ("--mode", "http", "--fail-mode", "cached")])
def test_a_fail_mode_that_is_none_or_that_http_hooks_cannot_keep_is_wrong_usage(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    assert desk.run("install", "claude-code", *arguments).returncode == 2
    assert not desk.settings("claude-code").exists()
