"""``hookbus user`` against a gateway that is scripted: what it sends, with which credential, and what it prints."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hookbus.cli.api import Api
from hookbus.cli.commands import user
from hookbus.cli.main import main

VIEW = {
    "username": "ann",
    "role": "auditor",
    "created_at": "2026-01-01T00:00:00Z",
    "must_change_password": True,
    "totp": False,
    "sessions": 2,
}
Run = Callable[..., int]


class Gateway:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, Any]] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        self.asked.append((request.method, path, request.headers.get("authorization"), body))
        if path.endswith("/login"):
            return httpx.Response(200, json={"access_token": "first-token"})
        if path.endswith("/password"):
            return httpx.Response(200, json={"access_token": "second-token"})
        if path == "/api/v1/users" and request.method == "GET":
            return httpx.Response(200, json={"users": [VIEW]})
        if path == "/api/v1/users/ann" and request.method == "DELETE":
            return httpx.Response(200, json=VIEW | {"disabled_at": "2026-01-02T00:00:00Z"})
        return httpx.Response(200, json={"user": VIEW, "one_time_password": "shown-once"})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    scripted = Gateway()
    transport = httpx.MockTransport(scripted.handle)

    class ScriptedApi(Api):
        def __init__(self, url: str, api_key: str | None) -> None:
            super().__init__(url, api_key, transport=transport)

        @classmethod
        def from_settings(cls) -> "ScriptedApi":
            return cls("http://gateway.test", "hbk_test")

    monkeypatch.setattr(user, "Api", ScriptedApi)
    return scripted


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def command(*words: str, stdin: str = "") -> int:
        monkeypatch.setattr(sys, "argv", ["hookbus", "user", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return main()

    return command


def test_add_shows_the_one_time_password_once(gateway: Gateway, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "ann", "--role", "auditor") == 0
    assert gateway.asked == [("POST", "/api/v1/users", "Bearer hbk_test", {"username": "ann", "role": "auditor"})]
    assert "shown-once" in capsys.readouterr().out
    assert run("add", "ann", "--role", "king") == 2


def test_list_and_disable(gateway: Gateway, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    assert "must change" in capsys.readouterr().out
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["users"][0]["username"] == "ann"
    assert run("disable", "ann") == 0
    assert gateway.asked[-1][:2] == ("DELETE", "/api/v1/users/ann")
    assert "disabled" in capsys.readouterr().out


def test_passwd_logs_in_changes_and_leaves(gateway: Gateway, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """With the person's own credential, never the key; no password is printed."""
    assert run("passwd", "ann", stdin="old words\nnew words for ann\n") == 0
    assert [(path.rsplit("/", 1)[1], authorization) for _, path, authorization, _ in gateway.asked] == [
        ("login", None),
        ("password", "Bearer first-token"),
        ("logout", "Bearer second-token"),
    ]
    assert gateway.asked[1][3] == {"current_password": "old words", "new_password": "new words for ann"}
    assert "words" not in capsys.readouterr().out


def test_passwd_without_lines_and_with_reset(gateway: Gateway, run: Run) -> None:
    assert run("passwd", "ann", stdin="only one\n") == 2
    assert gateway.asked == []
    assert run("passwd", "ann", "--reset") == 0
    assert gateway.asked[-1][:2] == ("POST", "/api/v1/users/ann/reset")
