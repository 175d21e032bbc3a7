"""What holds in ``hookbus hook`` whatever goes wrong inside it."""

import io
import os
from pathlib import Path

import pytest

from hookbus.client import hook
from hookbus.client.adapters.base import Answer


@pytest.mark.parametrize(("mode", "exit_code"), [("open", 0), ("closed", 2)])
def test_a_fault_inside_the_hook_follows_the_fail_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, exit_code: int
) -> None:
    def fail(_deadline: float) -> dict[str, object]:
        raise RuntimeError("planted")

    said: list[Answer] = []
    monkeypatch.setattr(hook, "read_payload", fail)
    monkeypatch.setattr(hook, "write", lambda answer: said.append(answer) or answer.exit_code)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType, reportUnknownMemberType]  # a spy
    environ = {"HOOKBUS_DATA_DIR": str(tmp_path), "HOOKBUS_FAIL_MODE": mode}
    assert hook.run(["claude-code"], environ) == exit_code
    assert "planted" in said[0].message


def test_what_is_said_cannot_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    monkeypatch.setattr(hook.sys, "stderr", io.StringIO())
    saved = os.dup(2)
    os.dup2(write, 2)
    try:
        hook.say("\x1b[2Jred\x07\nnext")
    finally:
        os.dup2(saved, 2)
        for descriptor in (saved, write):
            os.close(descriptor)
    assert os.read(read, 100) == b"?[2Jred?\nnext\n"
    os.close(read)
