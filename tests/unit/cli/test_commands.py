"""The commands against a gateway that is scripted: what they send, what they print, how they end."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.command_inside import Run
from support.paper_log import PaperLog, write_bundle

from hookbus.audit.receipt import write_receipt
from hookbus.cli.api import Api

Answer = Callable[[httpx.Request], httpx.Response]

REMAINING = [
    {
        "scope": "agent",
        "name": "a1",
        "unit": "tokens",
        "window": "hour",
        "amount": "100000",
        "spent": "25000",
        "held": "0",
        "remaining": "75000",
        "newer_field": 1,
    }
]
SESSION = {
    "id": "s1",
    "agent_id": "a1",
    "state": "killed",
    "risk": 0.42,
    "baseline": {"host": "h"},
    "opened_at": "2026-01-01T00:00:00Z",
    "last_seen_at": "2026-01-01T00:01:00Z",
    "events": 3,
    "killed_at": "2026-01-01T00:02:00Z",
    "killed_by": "ann",
    "kill_reason": "stop",
    "signals": [
        {
            "code": "host_change",
            "weight": 2.7,
            "evidence": "host h became i",
            "words": "The session moved to another host: host h became i.",
            "occurrences": 1,
            "seen_at": "2026-01-01T00:01:00Z",
        }
    ],
}


class Gateway:
    """Answers what it was told to and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Answer = lambda _request: httpx.Response(200, json={})

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def answers(self, status: int, body: Any, **headers: str) -> None:
        self.answer = lambda _request: httpx.Response(status, json=body, headers=headers)

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    scripted = Gateway()
    transport = httpx.MockTransport(scripted.handle)
    monkeypatch.setattr(Api, "from_settings", lambda: Api("http://gateway.test", "hbk_test", transport=transport))
    return scripted


def test_the_help_lists_every_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for name in ["up", "down", "status", "demo", "hook", "emit", "spool", "trace", "budget", "session", "key", "audit"]:
        assert f" {name} " in shown


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("budget", "check"), ("session", "list", "--limit", "0"), ("key",)]
)
def test_wrong_usage_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2


def test_an_unreachable_gateway_is_3(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOKBUS_URL", "http://127.0.0.1:9")
    assert run("session", "list") == 3
    assert "hookbus up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, 1, "HOOKBUS_API_KEY"),
        (403, 1, "scope"),
        (404, 1, "not_found"),
        (422, 2, "cost: too dear"),
        (503, 1, "2 s"),
    ],
)
def test_a_problem_is_one_clear_line(
    run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str], *, status: int, code: int, said: str
) -> None:
    words = {404: "not_found"}.get(status, "word")
    errors = [{"loc": "cost", "msg": "too dear"}] if status == 422 else []
    gateway.answers(status, {"detail": "no such thing", "code": words, "errors": errors}, **{"retry-after": "2"})
    assert run("budget", "status", "a1") == code
    error = capsys.readouterr().err
    assert error.startswith("hookbus: no such thing")
    assert error.count("\n") == 1
    assert said in error


def test_an_answer_that_is_no_gateways_says_so(run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answer = lambda _request: httpx.Response(502, text="<html>")
    assert run("budget", "status", "a1") == 1
    assert "is this a hookbus gateway" in capsys.readouterr().err
    gateway.answer = lambda _request: httpx.Response(200, text="<html>")
    assert run("budget", "status", "a1") == 1


def test_the_key_travels_as_bearer_and_is_never_printed(
    run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers(401, {"detail": "bad key", "code": "unauthenticated"})
    run("session", "list")
    assert gateway.requests[0].headers["authorization"] == "Bearer hbk_test"
    assert "hbk_test" not in "".join(capsys.readouterr())


def test_budget_init_takes_short_and_long_forms(run: Run, gateway: Gateway) -> None:
    gateway.answers(201, {"created": True, "agent_id": "a1", "remaining": REMAINING})
    assert run("budget", "init", "a1", "--tokens-per-hour", "5", "--limit", "usd:day:1.50", "--project", "p") == 0
    assert gateway.requests[-1].url.path == "/api/v1/budget/init/a1"
    assert gateway.body == {
        "limits": [
            {"unit": "usd", "window": "day", "amount": "1.50"},
            {"unit": "tokens", "window": "hour", "amount": "5"},
        ],
        "project": "p",
    }
    assert run("budget", "init", "a1", "--limit", "usd:never:1") == 2
    assert run("budget", "init", "p1", "--scope", "project") == 0
    assert gateway.requests[-1].url.path == "/api/v1/budget/scopes/project/p1"


def test_budget_init_takes_limits_away_by_name_or_all_that_are_not_named(run: Run, gateway: Gateway) -> None:
    gateway.answers(200, {"created": False, "agent_id": "a1", "remaining": REMAINING})
    assert run("budget", "init", "a1", "--remove", "tokens:hour", "--replace") == 0
    assert gateway.body == {"limits": [{"unit": "tokens", "window": "hour", "amount": None}], "replace": True}
    assert run("budget", "init", "a1", "--remove", "tokens") == 2
    assert run("budget", "init", "a1", "--remove", "tokens:never") == 2


@pytest.mark.parametrize(
    ("scope", "name", "segment"),
    [
        ("session", "a1/s:1.x", b"a1~s%3A1.x"),
        ("subagent", "a1/s1/code review", b"a1~s1~code%20review"),
        ("subagent", "a1//x", b"a1~~x"),
        ("project", "a/b", b"a%2Fb"),
    ],
)
def test_budget_names_are_one_segment_of_the_address(
    run: Run, gateway: Gateway, scope: str, name: str, segment: bytes
) -> None:
    gateway.answers(200, {"scope": scope, "name": name, "remaining": REMAINING, "holds": 0})
    for command, suffix in (("status", b""), ("reset", b"/reset")):
        assert run("budget", command, name, "--scope", scope) == 0
        path = b"/api/v1/budget/scopes/" + scope.encode() + b"/" + segment + suffix
        assert gateway.requests[-1].url.raw_path == path


@pytest.mark.parametrize(("allowed", "code"), [(True, 0), (False, 1)])
def test_budget_check_ends_with_the_answer(run: Run, gateway: Gateway, *, allowed: bool, code: int) -> None:
    gateway.answers(200, {"allowed": allowed, "reason": "r", "code": "ok", "agent_id": "a1", "remaining": REMAINING})
    assert run("budget", "check", "a1", "--tokens", "5", "--cost", "0.01", "--reserve") == code
    assert gateway.body == {"agent_id": "a1", "estimated_tokens": 5, "estimated_cost": "0.01", "reserve": True}


def test_budget_deduct_makes_a_key_of_its_own(run: Run, gateway: Gateway) -> None:
    gateway.answers(200, {"deducted": {"tokens": 5, "usd": "0.01"}, "remaining": REMAINING, "duplicate": False})
    assert run("budget", "deduct", "a1", "--tokens", "5", "--cost", "0.01") == 0
    first = gateway.body["idempotency_key"]
    assert run("budget", "deduct", "a1", "--tokens", "5") == 0
    assert first != gateway.body["idempotency_key"]
    assert run("budget", "deduct", "a1", "--tokens", "5", "--key", "k1") == 0
    assert gateway.body["idempotency_key"] == "k1"
    assert run("budget", "deduct", "a1") == 2


def test_budget_status_shows_a_bar_and_json(run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers(200, {"scope": "agent", "name": "a1", "remaining": REMAINING, "holds": 0})
    assert run("budget", "status", "a1") == 0
    shown = capsys.readouterr().out
    assert "█████░" in shown
    assert "75,000" in shown
    assert run("budget", "status", "a1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["remaining"] == REMAINING


def test_a_session_is_explained(run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers(200, SESSION)
    assert run("session", "show", "s1") == 0
    shown = capsys.readouterr().out
    for words in ("killed", "ann: stop", "0.42", "+2.7", "moved to another host"):
        assert words in shown
    assert run("session", "kill", "s1", "--reason", "stop") == 0
    assert gateway.requests[-1].url.path == "/api/v1/sessions/s1/kill"
    assert gateway.body == {"reason": "stop"}


def test_a_key_is_shown_once(run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    key = {"key_id": "0" * 12, "name": "ci", "scopes": ["events"], "created_at": "2026-01-01T00:00:00Z"}
    gateway.answers(201, {"key": key, "api_key": "hbk_the_key"})
    assert run("key", "create", "ci", "--scope", "events", "--days", "2") == 0
    assert gateway.body == {"name": "ci", "scopes": ["events"], "ttl_seconds": 172_800}
    assert "hbk_the_key" in capsys.readouterr().out


@pytest.mark.parametrize(("good", "code", "said"), [(True, 0, "verified"), (False, 1, "NOT intact at index 7: moved")])
def test_audit_verify_ends_with_the_answer(
    run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str], *, good: bool, code: int, said: str
) -> None:
    fault = {} if good else {"first_bad_index": 7, "fault": "moved"}
    gateway.answers(200, {"ok": good, "size": 9, "root_hash": "00", "checked": 9, **fault})
    assert run("audit", "verify") == code
    assert said in capsys.readouterr().out


def test_audit_export_follows_every_page(run: Run, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        first = int(request.url.params.get("cursor", "-1")) + 1
        entries = [{"index": number, "event_id": f"e{number}"} for number in range(first, min(first + 2, 5))]
        cursor = str(entries[-1]["index"]) if first + 2 < 5 else None
        return httpx.Response(200, json={"entries": entries, "cursor": cursor})

    gateway.answer = page
    assert run("audit", "export") == 0
    assert [json.loads(line)["index"] for line in capsys.readouterr().out.splitlines()] == [0, 1, 2, 3, 4]


def test_audit_search_without_a_hit_is_1(run: Run, gateway: Gateway) -> None:
    gateway.answers(200, {"entries": []})
    assert run("audit", "search", "--agent", "nobody") == 1


def test_an_invalid_setting_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOKBUS_URL", "ftp://x")
    assert run("session", "list") == 2
    assert "HOOKBUS_URL" in capsys.readouterr().err


def test_audit_verify_remembers_the_checkpoint_it_saw_and_asks_from_it(run: Run, gateway: Gateway) -> None:
    note = "log.example/one\n7\nAAAA\n\n"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/checkpoint"):
            return httpx.Response(200, text=note)
        return httpx.Response(200, json={"ok": True, "checked": 7, "root_hash": "00"})

    gateway.answer = answer
    assert run("audit", "verify") == 0
    assert "checkpoint" not in gateway.body
    assert run("audit", "verify", "--depth", "leaves") == 0
    asked = json.loads([request for request in gateway.requests if request.method == "POST"][-1].content)
    assert asked.pop("watch")
    assert asked == {"decrypt": False, "depth": "leaves", "checkpoint": note}


def test_audit_verify_of_a_file_needs_a_key_of_ones_own(run: Run, tmp_path: Path) -> None:
    receipt = tmp_path / "r.tlog-proof"
    receipt.write_text("c2sp.org/tlog-proof@v1\n")
    assert run("audit", "verify", str(receipt)) == 2
    assert run("audit", "verify", str(receipt), "--key", "no key") == 2
    assert run("audit", "verify", str(tmp_path / "absent"), "--key", "no key") == 2


def test_audit_files_are_checked_on_this_machine(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = PaperLog(tmp_path)
    log.append(300)
    key = tmp_path / "log.vkey"
    key.write_text(log.pinned.text)
    entry = log.entries[10]
    receipt = tmp_path / "r.tlog-proof"
    text = write_receipt(
        event_id=entry.event_id,
        record=entry.record,
        index=10,
        proof=log.inclusion(10),
        checkpoint=log.notes[-1],
        handovers=log.signer.handovers,
    )
    receipt.write_text(text)
    assert run("audit", "verify", str(receipt), "--key", str(key), "--json") == 0
    assert json.loads(capsys.readouterr().out)["index"] == 10
    receipt.write_text(text.replace("index 10", "index 11"))
    assert run("audit", "verify", str(receipt), "--key", str(key)) == 1
    whole = write_bundle(tmp_path / "x.zip", log.parts())
    for depth in ("checkpoints", "leaves", "all"):
        assert run("audit", "verify", str(whole), "--key", log.pinned.text, "--depth", depth) == 0
    parts = log.parts()
    parts["tile/entries/001.p/46"] = b"\x00" * len(parts["tile/entries/001.p/46"])
    doctored = write_bundle(tmp_path / "y.zip", parts)
    capsys.readouterr()
    assert run("audit", "verify", str(doctored), "--key", log.pinned.text, "--json") == 1
    assert json.loads(capsys.readouterr().out)["first_bad_index"] == 256


def test_audit_erase_asks_first_and_rotation_names_its_key(
    run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    gateway.answers(200, {"keys": 1, "entries": 3, "note": "n"})
    assert run("audit", "erase", "a1", "--yes", "--reason", "asked to") == 0
    assert (gateway.requests[-1].method, gateway.requests[-1].url.path) == ("DELETE", "/api/v1/audit/subjects/a1")
    assert gateway.requests[-1].url.params["reason"] == "asked to"
    sent = len(gateway.requests)
    assert run("audit", "erase", "a1") != 0
    assert len(gateway.requests) == sent
    assert run("audit", "rotate-key") == 0
    assert gateway.requests[-1].url.path.endswith("/keys/wrapping/rotate")
    assert run("audit", "rotate-key", "--signing") == 0
    assert gateway.requests[-1].url.path.endswith("/keys/signing/rotate")
