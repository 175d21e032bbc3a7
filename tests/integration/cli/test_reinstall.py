"""What a person wrote stays and what ``hookbus install`` wrote goes, whatever became of the file in between."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hookbus.cli.errors import CliError
from hookbus.cli.main import app

KEY = "hbk_abcdefghijkl_" + "s" * 43
NEW_KEY = "hbk_mnopqrstuvwx_" + "t" * 43
URL = "http://127.0.0.1:8787"
HEADERS = "OTEL_EXPORTER_OTLP_LOGS_HEADERS"
ENDPOINT = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
MINE = {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://mine:4317",
}


@dataclass
class Desk:
    """A home, and the command."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    environ: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def settings(self) -> Path:
        return self.home / ".claude" / "settings.json"

    @property
    def toml(self) -> Path:
        return self.home / ".codex" / "config.toml"

    def run(self, *arguments: str) -> str:
        environ = {"HOOKBUS_DATA_DIR": str(self.home / "data"), "HOOKBUS_API_KEY": KEY, "HOOKBUS_URL": URL}
        for name, value in {**environ, "HOME": str(self.home), **self.environ}.items():
            self.monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, CliError):
            raise result.exception
        assert result.exit_code == 0, result.exc_info
        return result.stdout

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def touch(self) -> None:
        """A change by the person, so that the file is not what the installation left."""
        text = self.settings.read_text(encoding="utf-8")
        self.settings.write_text(text.replace("{", '{\n  "mine": true,', 1), encoding="utf-8")

    def env(self) -> dict[str, str]:
        return json.loads(self.settings.read_text(encoding="utf-8")).get("env", {})

    def holds(self, key: str) -> list[Path]:
        """Where a key stands, anywhere."""
        return [path for path in self.home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "home", monkeypatch)


def test_variables_that_a_person_had_set_just_so_stay(desk: Desk) -> None:
    text = json.dumps({"env": MINE}, indent=2)
    desk.write(desk.settings, text)
    desk.run("install", "claude-code")
    assert desk.env()[HEADERS].startswith("Authorization=")
    desk.run("uninstall", "claude-code")
    assert desk.settings.read_bytes() == text.encode()
    desk.run("install", "claude-code")
    desk.touch()
    desk.run("install", "claude-code", "--no-telemetry")
    assert desk.env() == MINE
    desk.run("uninstall", "claude-code")
    assert desk.env() == MINE


def test_what_a_person_had_set_for_hookbus_by_hand_is_as_it_was(desk: Desk) -> None:
    """Nothing of an earlier installation is there, so it is nobody else's."""
    text = json.dumps({"env": {HEADERS: f"Authorization=Bearer {KEY}", ENDPOINT: f"{URL}/otlp/v1/logs"}})
    desk.write(desk.settings, text)
    desk.run("install", "claude-code")
    desk.run("uninstall", "claude-code")
    assert desk.settings.read_bytes() == text.encode()


def test_the_key_leaves_a_changed_file_with_the_hooks(desk: Desk) -> None:
    desk.run("install", "claude-code", "--agent-id", "mine")
    assert desk.holds(KEY) == [desk.settings]
    desk.touch()
    desk.run("uninstall", "claude-code")
    assert json.loads(desk.settings.read_text(encoding="utf-8")) == {"mine": True}
    assert desk.holds(KEY) == []


@pytest.mark.parametrize(
    ("environ", "arguments", "key", "endpoint"),
    [
        ({"HOOKBUS_API_KEY": NEW_KEY}, (), NEW_KEY, f"{URL}/otlp/v1/logs"),
        ({"HOOKBUS_URL": "http://other:1"}, (), KEY, "http://other:1/otlp/v1/logs"),
        ({"HOOKBUS_API_KEY": NEW_KEY}, ("--no-telemetry",), None, None),
        ({}, ("--no-telemetry",), None, None),
    ],
    ids=["another key", "another address", "another key, no telemetry", "no telemetry"],
)
def test_a_second_installation_into_a_changed_file_leaves_nothing_of_the_first(
    desk: Desk, environ: dict[str, str], arguments: tuple[str, ...], key: str | None, endpoint: str | None
) -> None:
    desk.run("install", "claude-code", "--agent-id", "mine")
    desk.touch()
    desk.environ = environ
    assert "sets" not in desk.run("install", "claude-code", *arguments)
    assert desk.env().get(HEADERS) == (f"Authorization=Bearer {key}" if key else None)
    assert desk.env().get(ENDPOINT) == endpoint
    assert desk.holds(KEY) == ([desk.settings] if key == KEY else [])
    desk.run("uninstall", "claude-code")
    assert json.loads(desk.settings.read_text(encoding="utf-8")) == {"mine": True}


def test_a_dry_run_shows_neither_the_new_key_nor_the_old_one(desk: Desk) -> None:
    desk.run("install", "claude-code")
    desk.touch()
    desk.environ = {"HOOKBUS_API_KEY": NEW_KEY}
    for command in ("install", "uninstall"):
        out = desk.run(command, "claude-code", "--dry-run")
        assert HEADERS in out
        assert KEY not in out
        assert NEW_KEY not in out


def test_a_variable_that_a_person_changed_since_stays_and_is_told(desk: Desk) -> None:
    desk.run("install", "claude-code")
    text = desk.settings.read_text(encoding="utf-8")
    desk.settings.write_text(text.replace('"otlp"', '"console"'), encoding="utf-8")
    out = desk.run("uninstall", "claude-code")
    assert "still sets OTEL_LOGS_EXPORTER" in out
    assert desk.env() == {"OTEL_LOGS_EXPORTER": "console"}


def test_where_the_note_is_lost_the_key_goes_by_its_shape_and_what_may_be_a_persons_stays_and_is_told(
    desk: Desk,
) -> None:
    desk.run("install", "claude-code", "--agent-id", "mine")
    (desk.home / "data").rename(desk.home / "lost")
    desk.environ = {"HOOKBUS_URL": "http://other:1"}
    out = desk.run("uninstall", "claude-code")
    assert desk.holds(KEY) == []
    assert set(desk.env()) == {
        "CLAUDE_CODE_ENABLE_TELEMETRY",
        "OTEL_LOGS_EXPORTER",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    }
    assert out.count("still sets") == 3


def test_where_the_note_is_lost_a_new_key_takes_the_place_of_the_old_one(desk: Desk) -> None:
    desk.run("install", "claude-code")
    (desk.home / "data").rename(desk.home / "lost")
    desk.environ = {"HOOKBUS_API_KEY": NEW_KEY}
    desk.run("install", "claude-code")
    assert desk.env()[HEADERS] == f"Authorization=Bearer {NEW_KEY}"
    assert desk.holds(KEY) == []


def test_another_services_address_and_key_are_not_taken_for_hookbuss(desk: Desk) -> None:
    other = {HEADERS: "Authorization=Basic eHl6", ENDPOINT: "https://otlp.example.net/otlp/v1/logs"}
    desk.write(desk.settings, json.dumps({"env": other}, indent=2))
    assert "left as it is" in desk.run("install", "claude-code")
    (desk.home / "data").rename(desk.home / "lost")
    desk.run("uninstall", "claude-code")
    assert other.items() <= desk.env().items()


def test_an_installation_that_ended_before_the_file_was_written_still_knows_what_the_file_holds(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run("install", "claude-code")
    desk.touch()
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if target == desk.settings:
            raise OSError("planted")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(CliError, match="cannot be written"):
        desk.run("install", "claude-code", "--no-telemetry")
    monkeypatch.setattr(Path, "replace", replace)
    desk.run("uninstall", "claude-code")
    assert json.loads(desk.settings.read_text(encoding="utf-8")) == {"mine": True}


def otel(desk: Desk) -> dict[str, Any]:
    return tomllib.loads(desk.toml.read_text(encoding="utf-8")).get("otel", {})


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_person_adds_beneath_codexs_export_stays(desk: Desk, end: str) -> None:
    desk.write(desk.toml, f'model = "x"{end}')
    desk.run("install", "codex")
    more = f'environment = "staging"{end}log_user_prompt = true{end}# the next one{end}[tui]{end}x = 1{end}'
    desk.toml.write_bytes(desk.toml.read_bytes() + more.encode())
    desk.environ = {"HOOKBUS_URL": "http://other:1"}
    desk.run("install", "codex")
    exporter = otel(desk).pop("exporter")
    assert exporter["otlp-http"]["endpoint"] == "http://other:1/otlp/v1/logs"
    assert {**otel(desk), "exporter": None} == {"environment": "staging", "log_user_prompt": True, "exporter": None}
    desk.run("uninstall", "codex")
    assert desk.toml.read_bytes().decode() == f'model = "x"{end}{end}[otel]{end}{more}'


def test_an_export_beneath_which_only_a_comment_stands_goes_with_its_table_and_the_comment_stays(desk: Desk) -> None:
    desk.run("install", "codex")
    desk.toml.write_bytes(desk.toml.read_bytes() + b"\n# the next one\n[tui]\nx = 1\n")
    desk.run("uninstall", "codex")
    assert desk.toml.read_bytes() == b"\n# the next one\n[tui]\nx = 1\n"


def test_an_export_that_nothing_is_known_of_goes_with_its_table(desk: Desk) -> None:
    desk.run("install", "codex")
    (desk.home / "data").rename(desk.home / "lost")
    desk.run("uninstall", "codex")
    assert desk.toml.read_bytes() == b""


def test_a_table_that_a_person_had_takes_the_export_and_is_as_it_was_without_it(desk: Desk) -> None:
    text = '[tui]\nx = 1\n\n[otel] # mine\nenvironment = "staging"\n'
    desk.write(desk.toml, text)
    desk.run("install", "codex")
    assert set(otel(desk)) == {"environment", "exporter"}
    desk.run("uninstall", "codex")
    assert desk.toml.read_bytes() == text.encode()
    desk.write(desk.toml, "[otel]\n")
    desk.run("install", "codex")
    desk.toml.write_bytes(desk.toml.read_bytes() + b"# changed\n")
    desk.run("uninstall", "codex")
    assert desk.toml.read_bytes() == b"[otel]\n# changed\n"


@pytest.mark.parametrize("before", [None, 'model = "x"\n'])
def test_an_installation_without_telemetry_takes_codexs_export_out(desk: Desk, before: str | None) -> None:
    if before is not None:
        desk.write(desk.toml, before)
    desk.run("install", "codex")
    assert otel(desk)
    desk.run("install", "codex", "--no-telemetry")
    assert (desk.toml.read_text(encoding="utf-8") if desk.toml.exists() else None) == before


def test_an_export_that_a_person_has_put_otherwise_is_left_and_told(desk: Desk) -> None:
    text = (
        '[otel.exporter.otlp-http]\nendpoint = "http://127.0.0.1:8787/otlp/v1/logs"\nprotocol = "binary"\n'
        '[otel.exporter.otlp-http.headers]\nAuthorization = "Bearer ${HOOKBUS_API_KEY}"\n'
    )
    desk.write(desk.toml, text)
    for command in ("install", "uninstall"):
        out = desk.run(command, "codex")
        assert desk.toml.read_text(encoding="utf-8") == text
        assert "still sets otel.exporter" in out
