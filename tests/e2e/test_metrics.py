"""What each service measures: after real traffic every name is there, described, with its unit and few label values."""

import json
import re
import secrets
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from support.hookbus_command import COMMAND
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.embedded.state import load

WAIT_S = 60.0
DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = ("gateway", "session", "budget", "audit", "traces")
UNITS = (
    "_seconds",
    "_events",
    "_requests",
    "_entries",
    "_messages",
    "_connections",
    "_commands",
    "_holds",
    "_ratio",
    "_bytes",
)
UNITLESS = {"hookbus_audit_signer_refuses", "hookbus_streams", "hookbus_events_waiting"}
"""A state of 0 or 1, and things that are counted under their own name."""
COUNTED = "_total"
LABELS = {
    "method", "route", "status", "kind", "code", "decision", "subject", "stream", "verdict", "operation", "command",
    "outcome", "reason", "le", "client", "level", "family",
}  # fmt: skip
EXPECTED_ALL = {"hookbus_trace_spans_exported", "hookbus_trace_spans_dropped"}
EXPECTED_DATABASE = {
    "hookbus_database_pool_used_connections",
    "hookbus_database_pool_max_connections",
    "hookbus_database_pool_wait_seconds",
    "hookbus_database_pool_timeouts",
    "hookbus_database_query_seconds",
    "hookbus_database_query_errors",
    "hookbus_rpc_requests",
    "hookbus_rpc_request_seconds",
}
EXPECTED_CONSUMER = {
    "hookbus_consumer_events",
    "hookbus_consumer_redeliveries",
    "hookbus_consumer_batch_events",
    "hookbus_consumer_batch_seconds",
    "hookbus_consumer_lag_events",
    "hookbus_consumer_unacknowledged_events",
    "hookbus_deadletters",
}
EXPECTED = {
    "gateway": EXPECTED_ALL
    | {
        "hookbus_http_requests",
        "hookbus_http_request_seconds",
        "hookbus_events_accepted",
        "hookbus_events_rejected",
        "hookbus_decisions",
        "hookbus_problems",
        "hookbus_authentication_failures",
        "hookbus_spool_replayed_events",
        "hookbus_deadletters_kept_messages",
        "hookbus_publish_group_events",
        "hookbus_publish_seconds",
        "hookbus_publish_failures",
    },
    "session": EXPECTED_ALL
    | EXPECTED_DATABASE
    | EXPECTED_CONSUMER
    | {"hookbus_session_risk_ratio", "hookbus_session_assessments"},
    "budget": EXPECTED_ALL
    | EXPECTED_DATABASE
    | EXPECTED_CONSUMER
    | {
        "hookbus_budget_transaction_seconds",
        "hookbus_budget_transaction_commands",
        "hookbus_budget_commands",
        "hookbus_budget_reservations",
        "hookbus_budget_open_holds",
        "hookbus_budget_drift_ratio",
    },
    "audit": EXPECTED_ALL
    | EXPECTED_DATABASE
    | EXPECTED_CONSUMER
    | {
        "hookbus_audit_append_seconds",
        "hookbus_audit_append_entries",
        "hookbus_audit_log_entries",
        "hookbus_audit_checkpoint_age_seconds",
        "hookbus_audit_unsigned_entries",
        "hookbus_audit_anchor_lag_entries",
        "hookbus_audit_anchor_age_seconds",
        "hookbus_audit_witness_lag_entries",
        "hookbus_audit_signer_refuses",
    },
    "traces": EXPECTED_DATABASE,
}


def scraped(stack: StackFixture, service: str) -> dict[str, Metric]:
    """The families of one service, by name (a counter's without ``_total``)."""
    run = load(stack.layout.run_file)
    assert run is not None
    url = stack.url if service == "gateway" else f"http://127.0.0.1:{run.ports[service]}"
    answer = httpx.get(f"{url}/metrics", timeout=10)
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def samples(families: Iterable[Metric], name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def value(stack: StackFixture, service: str, name: str, **labels: str) -> float:
    found = samples(scraped(stack, service).values(), name)
    return sum(count for having, count in found.items() if labels.items() <= dict(having).items())


def traffic(stack: StackFixture, mark: str) -> None:
    """What the demo does, by agents, sessions and projects whose names hold ``mark``: decisions, usage, refusals."""
    with httpx.Client(base_url=stack.url, headers=stack.headers, timeout=20) as client:
        for number in range(3):
            agent, session = f"{mark}-{number}", f"s-{mark}-{number}"
            event: dict[str, Any] = {"agent_id": agent, "session": session, "project": f"p-{mark}"}
            client.post("/api/v1/events", json=[{**event, "kind": "session-start"}, {**event, "kind": "prompt"}])
            data = {"tool": f"Tool{mark}", "cwd": "/tmp", "tool_input": {"file_path": f"/tmp/{mark}"}}
            decided = client.post("/api/v1/decide", json={**event, "kind": "pre-task", "data": data})
            assert decided.status_code == 200, decided.text
            denied = {**data, "tool": "Read", "tool_input": {"file_path": f"/etc/{mark}"}}
            client.post("/api/v1/decide", json={**event, "kind": "pre-task", "data": denied})
            usage = {"model": "claude-sonnet-4-5", "input_tokens": 10, "output_tokens": 1}
            client.post("/api/v1/events", json={**event, "kind": "usage", "data": usage})
            client.get(f"/api/v1/budget/status/{agent}")
            client.get(f"/api/v1/sessions/{session}")
            client.get(f"/nowhere/{mark}")
            client.request(f"X{mark.upper()}", "/api/v1/events")
            client.post("/api/v1/events", json={**event, "kind": "prompt", "data": {"a\x00": mark}})
            client.post("/api/v1/events", json={**event, "kind": mark})
            client.get("/api/v1/keys", headers={"authorization": f"Bearer {mark}"})


@pytest.fixture(scope="module")
def mark(stack: StackFixture) -> str:
    """The traffic's own word, after the traffic."""
    assert stack.wait_ready()
    word = f"mark{secrets.token_hex(4)}"
    traffic(stack, word)
    return word


@pytest.mark.parametrize("service", SERVICES)
async def test_every_metric_is_there_with_words_and_a_unit(stack: StackFixture, mark: str, service: str) -> None:
    families = scraped(stack, service)
    own = {name: family for name, family in families.items() if name.startswith("hookbus_")}
    assert EXPECTED[service] - own.keys() == set(), mark
    for name, family in own.items():
        assert family.documentation.strip(), f"{name} says nothing of itself"
        if family.type == "counter":
            assert all(sample.name.endswith(COUNTED) for sample in family.samples), name
        else:
            assert name.endswith(UNITS) or name in UNITLESS, f"{name} has no unit"


@pytest.mark.parametrize("service", SERVICES)
async def test_no_label_holds_what_an_agent_sent(stack: StackFixture, mark: str, service: str) -> None:
    """The same traffic by other agents adds no series: what varies with agents is in no label."""
    for family in scraped(stack, service).values():
        if not family.name.startswith("hookbus_"):
            continue
        for sample in family.samples:
            assert sample.labels.keys() <= LABELS, f"{family.name}: {sorted(sample.labels)}"
            assert not any(mark in text.lower() for text in sample.labels.values()), family.name


async def test_the_numbers_are_those_of_the_traffic(stack: StackFixture, mark: str) -> None:
    """Each number moves by what is done: a decision, a denial, a refusal, an append, a replay."""

    def counts() -> dict[str, float]:
        return {
            "allowed": value(stack, "gateway", "hookbus_decisions_total", decision="allow"),
            "granted": value(stack, "budget", "hookbus_budget_reservations_total", code="ok"),
            "assessed": value(stack, "session", "hookbus_session_risk_ratio_count"),
            "rpc": value(stack, "budget", "hookbus_rpc_requests_total", subject="rpc.budget.check", code="ok"),
            "refused": value(stack, "gateway", "hookbus_problems_total", code="input_refused"),
            "unauthenticated": value(stack, "gateway", "hookbus_problems_total", code="unauthenticated"),
            "replayed": value(stack, "gateway", "hookbus_spool_replayed_events_total"),
        }

    before, entries = counts(), value(stack, "audit", "hookbus_audit_log_entries")
    handled = {
        service: value(stack, service, "hookbus_consumer_events_total", stream="HOOKS", verdict="ack")
        for service in ("session", "budget", "audit")
    }
    event = {"agent_id": f"{mark}-n", "session": f"s-{mark}-n"}
    with httpx.Client(base_url=stack.url, headers=stack.headers, timeout=20) as client:
        for _ in range(2):
            task = {**event, "kind": "pre-task", "data": {"tool": "Read", "cwd": "/tmp"}}
            assert client.post("/api/v1/decide", json=task).json()["decision"] == "allow"
        assert client.post("/api/v1/events", json={**event, "kind": "prompt", "data": {"a\x00": 1}}).status_code == 422
        assert client.get("/api/v1/keys", headers={"authorization": "Bearer no"}).status_code == 401
        replayed = client.post("/api/v1/events", json={**event, "kind": "prompt"}, headers={"hookbus-replayed": "1"})
        assert replayed.status_code == 202
        spent = {**event, "kind": "usage", "data": {"input_tokens": 1}}
        assert client.post("/api/v1/events", json=spent).status_code == 202
    moved = {name: after - before[name] for name, after in counts().items()}
    wanted = {"allowed": 2, "granted": 2, "assessed": 2, "rpc": 2, "refused": 1, "unauthenticated": 1, "replayed": 1}
    assert moved == wanted

    # The budget is sent what reports spending alone.
    expected = {"session": 4, "audit": 4, "budget": 1}

    def arrived() -> bool:
        return all(
            value(stack, service, "hookbus_consumer_events_total", stream="HOOKS", verdict="ack")
            >= handled[service] + more
            for service, more in expected.items()
        )

    await eventually(arrived, WAIT_S)
    await eventually(lambda: value(stack, "audit", "hookbus_audit_log_entries") >= entries + 4, WAIT_S)
    await eventually(lambda: value(stack, "audit", "hookbus_audit_unsigned_entries") == 0, WAIT_S)
    assert value(stack, "audit", "hookbus_audit_checkpoint_age_seconds") >= 0
    assert value(stack, "budget", "hookbus_database_pool_max_connections") == 10


async def test_a_real_spool_counts_as_replayed(stack: StackFixture, tmp_path: Any) -> None:
    """An event that the command had to keep is counted when it is sent."""
    before = value(stack, "gateway", "hookbus_spool_replayed_events_total")
    environment = {**stack.environment, "HOOKBUS_DATA_DIR": str(tmp_path), "HOOKBUS_API_KEY": stack.api_key}
    kept = [str(COMMAND), "emit", "prompt", "--agent", "spooled", "--data", json.dumps({"n": 1})]
    away = {**environment, "HOOKBUS_URL": "http://127.0.0.1:1"}
    assert subprocess.run(kept, env=away, capture_output=True, timeout=60, check=False).returncode == 3
    flush = [str(COMMAND), "spool", "flush"]
    there = {**environment, "HOOKBUS_URL": stack.url}
    done = subprocess.run(flush, env=there, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert value(stack, "gateway", "hookbus_spool_replayed_events_total") - before == 1


async def test_dashboards_and_rules_ask_only_for_what_is_exposed(stack: StackFixture, mark: str) -> None:
    """Each name in a query of ``deploy/`` is one that a service exposes."""
    exposed: set[str] = set()
    for service in SERVICES:
        for name, family in scraped(stack, service).items():
            suffixes = {"counter": (COUNTED,), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            exposed |= {f"{name}{suffix}" for suffix in suffixes}
    asked: dict[str, set[str]] = {}
    for path in [*(DEPLOY / "grafana" / "dashboards").glob("*.json"), DEPLOY / "prometheus" / "rules.yml"]:
        asked[path.name] = set(re.findall(r"\bhookbus_[a-z0-9_]+", path.read_text()))
    assert len(asked) == 6
    assert {name: names - exposed for name, names in asked.items() if names - exposed} == {}, mark
