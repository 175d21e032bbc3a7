"""The ``hookbus`` command as it is installed: how it finds its interpreter and its package, and what it keeps out."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hookbus_command import COMMAND, Command

import hookbus.client

PROMPT = {"agent_id": "a", "session_id": "s", "prompt": "hello"}
PRE_TASK: dict[str, Any] = {"agent_id": "a", "tool": "Read"}
CLIENT = Path(hookbus.client.__file__).parent
AWAY = {"HOOKBUS_URL": "http://127.0.0.1:9", "HOOKBUS_DEADLINE_S": "0.2"}
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def runs(command: Path, hookbus_command: Command, monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    """A degraded decision comes back and the event waits in the spool."""
    monkeypatch.setattr("support.hookbus_command.COMMAND", command)
    run = hookbus_command("hook", "generic", "pre-task", stdin=PRE_TASK, **AWAY, **environ)
    assert (run.exit_code, run.answer["decision"], run.answer["code"]) == (0, "allow", "degraded"), run.stderr
    assert hookbus_command.spool()["waiting_events"] == 1


def installed(folder: Path, interpreter: str) -> Path:
    """The command in a ``bin`` of its own beside an interpreter."""
    (folder / "bin").mkdir(parents=True)
    command = folder / "bin" / "hookbus"
    shutil.copy(COMMAND, command)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{interpreter}" "$@"\n')
    python.chmod(0o755)
    return command


@pytest.mark.parametrize("name", ["select", "time", "hookbus", "sitecustomize"])
def test_a_projects_own_modules_cannot_stand_in_for_the_hooks(hookbus: Command, tmp_path: Path, name: str) -> None:
    """An agent starts hooks with its project's environment: a module found by PYTHONPATH could end a hook before it
    has said anything, which the agent takes for consent."""
    (tmp_path / f"{name}.py").write_text("import os\nos._exit(7)\n")
    run = hookbus("hook", "generic", "pre-task", stdin=PRE_TASK, PYTHONPATH=str(tmp_path), **AWAY)
    assert (run.exit_code, run.answer["code"]) == (0, "degraded")


def test_the_command_works_by_a_symbolic_link(
    hookbus: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tool installers put it on the PATH."""
    link = tmp_path / "elsewhere" / "hookbus"
    link.parent.mkdir()
    link.symlink_to(COMMAND)
    runs(link, hookbus, monkeypatch)


def test_the_command_finds_a_package_installed_as_a_copy(
    hookbus: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = installed(tmp_path / "a place with spaces", sys.executable)
    packages = tmp_path / "a place with spaces" / "lib" / PYTHON / "site-packages" / "hookbus"
    packages.mkdir(parents=True)
    shutil.copytree(CLIENT, packages / "client", ignore=shutil.ignore_patterns("__pycache__"))
    with (packages / "client" / "adapters" / "generic.py").open("a") as marked:
        marked.write('import os\nos.environ["HOOKBUS_SEEN"] and open(os.environ["HOOKBUS_SEEN"], "w").close()\n')
    runs(command, hookbus, monkeypatch, HOOKBUS_SEEN=str(tmp_path / "seen"))
    assert (tmp_path / "seen").exists()


def test_the_command_falls_back_on_what_its_interpreter_knows(
    hookbus: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where packages do not lie beside the command, as in a distribution's own folder."""
    runs(installed(tmp_path, sys.executable), hookbus, monkeypatch)


def test_other_commands_start_with_everything_installed(hookbus: Command) -> None:
    assert hookbus("budget", "--help").exit_code == 0
