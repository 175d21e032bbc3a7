"""The invariants I1 to I7, counted again after a run: from what clients were told, from rows as a superuser reads them,
from what lies on the bus. Nothing here asks a service about itself."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import asyncpg
from nats.js import JetStreamContext

from hookbus.contracts import subjects
from support.matrix.auditor import Auditor
from support.matrix.book import Book
from support.matrix.stand import Stand

STREAM_HOOKS, STREAM_SECURITY = 1, 2
"""How the audit log's rows name the streams."""
TOTAL_TOKENS = 9
"""The slot of ``budget.balances.spent`` that counts all tokens ever, in SQL's numbering."""
SERVICES = ("budget", "session", "audit")
DRAIN_TIMEOUT_S = 60.0
POLL_S = 0.1
SHOWN_MAX = 5

Superuser: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass
class Findings:
    """Invariant -> what breaks it."""

    found: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, invariant: str, what: str, items: Sequence[object] = ()) -> None:
        shown = f": {list(items[:SHOWN_MAX])}{' ...' if len(items) > SHOWN_MAX else ''}" if items else ""
        self.found[invariant].append(what + shown)

    def some(self, invariant: str, what: str, items: Sequence[object]) -> None:
        """Add where there are any."""
        if items:
            self.add(invariant, f"{len(items)} {what}", items)

    @property
    def broken(self) -> set[str]:
        return set(self.found)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {text}" for name in sorted(self.found) for text in self.found[name])


async def recount(stand: Stand, book: Book, auditor: Auditor) -> Findings:
    """Everything, once the bus is empty."""
    findings = Findings()
    await nothing_left(stand, book, findings)
    superuser = await stand.superuser()
    try:
        await in_the_log_once(superuser, book, findings)
        await limits_held(superuser, book, findings)
        await counted_once(superuser, book, findings)
        for text in await auditor.recount(superuser):
            findings.add("I4", text)
    finally:
        await superuser.close()
    for let_in in book.let_in:
        findings.add("I5", f"an {let_in.what} was accepted {let_in.age_s:.1f} s after its end was confirmed")
    return findings


async def in_the_log_once(superuser: Superuser, book: Book, findings: Findings) -> None:
    """I1: what was answered 202, and every decision with its objection, lies in the log exactly once."""
    objections = [f"{one.event_id}.{one.code}" for one in book.decided.values() if one.decision != "allow"]
    for stream, ids in ((STREAM_HOOKS, [*book.accepted, *book.decided]), (STREAM_SECURITY, objections)):
        rows = await superuser.fetch(
            "SELECT event_id FROM audit.stored_events WHERE stream = $1 AND event_id = ANY($2)", stream, ids
        )
        times = Counter([row["event_id"] for row in rows])
        findings.some("I1", "events are not in the log", [name for name in ids if not times[name]])
        findings.some("I1", "events are in the log more than once", [name for name in ids if times[name] > 1])


async def limits_held(superuser: Superuser, book: Book, findings: Findings) -> None:
    """I2: through reservations no agent passed its limit at any row of the ledger; what was reported is recorded."""
    rows = await superuser.fetch(
        "SELECT agent_id, operation, tokens, held_tokens, dedupe_key, event_id FROM budget.budget_history"
        " WHERE starts_with(agent_id, $1) ORDER BY id",
        book.tag,
    )
    taken: Counter[str] = Counter()
    passed: set[str] = set()
    recorded: dict[str, int] = {}
    for row in rows:
        agent = row["agent_id"]
        taken[agent] += row["tokens"] + row["held_tokens"]
        if taken[agent] > book.limits.get(agent, taken[agent]):
            passed.add(agent)
        if row["operation"] in {"settle", "charge"}:
            recorded[row["event_id"] or row["dedupe_key"].rsplit(":", 1)[1]] = row["tokens"]
    findings.some("I2", "agents passed their limit by reservations", sorted(passed))
    spent: Counter[str] = Counter()
    for settled in book.settled.values():
        spent[settled.agent] += settled.tokens
    findings.some(
        "I2", "agents were let spend more than their limit", [a for a, limit in book.limits.items() if spent[a] > limit]
    )
    told = {settled.key: settled.tokens for settled in book.settled.values()}
    told |= {name: event["data"]["tokens_used"] for name, event in book.accepted.items() if event["kind"] == "usage"}
    findings.some("I2", "reports are not recorded as told", [n for n in told if recorded.get(n) != told[n]])


async def counted_once(superuser: Superuser, book: Book, findings: Findings) -> None:
    """I3: the ledger, the balances and the sessions' counts all equal a recount by event id."""
    told = +book.tokens_by_agent()
    rows = await superuser.fetch(
        "SELECT agent_id, sum(tokens)::bigint AS tokens FROM budget.budget_history"
        " WHERE starts_with(agent_id, $1) GROUP BY agent_id",
        book.tag,
    )
    ledger = +Counter({row["agent_id"]: row["tokens"] for row in rows})
    rows = await superuser.fetch(
        f"SELECT name, spent[{TOTAL_TOKENS}] AS tokens FROM budget.balances"
        " JOIN budget.accounts ON id = account_id WHERE kind = 'agent' AND starts_with(name, $1)",
        book.tag,
    )
    balances = +Counter({row["name"]: row["tokens"] for row in rows})
    for what, counted in (("ledger", ledger), ("balances", balances)):
        wrong = [(a, counted[a], told[a]) for a in {*counted, *told} if counted[a] != told[a]]
        findings.some("I3", f"agents are charged otherwise in the {what} than told (agent, charged, told)", wrong)
    rows = await superuser.fetch("SELECT id, events FROM session.sessions WHERE id = ANY($1)", list(book.sessions))
    events = {row["id"]: row["events"] for row in rows}
    counts = {session: len(ids) for session, ids in book.sessions.items()}
    differing = [(s, events.get(s, 0), count) for s, count in counts.items() if events.get(s, 0) != count]
    findings.some("I3", "sessions count other events than told (session, counted, told)", differing)


async def nothing_left(stand: Stand, book: Book, findings: Findings) -> None:
    """I7: every request was answered, as the contract knows it; nothing waits on the bus; poison is in the dead
    letters of each service, and nothing else is."""
    findings.some("I7", "requests were never answered", book.unanswered)
    findings.some("I7", "answers are none of the contract", book.odd)
    client = await stand.bus()
    try:
        stream = client.jetstream()
        gives_up_at_s = time.monotonic() + DRAIN_TIMEOUT_S
        while (waiting := await _waiting(stream)) and time.monotonic() < gives_up_at_s:
            await asyncio.sleep(POLL_S)
        findings.some("I7", "consumers have messages that nobody takes", list(waiting.items()))
        buried = await _buried(stream, book.deadletters_before)
        planted = {
            (service, subjects.STREAM_HOOKS, sequence): why
            for sequence, why in book.poison.items()
            for service in SERVICES
        }
        absent = [(*place, why) for place, why in planted.items() if place not in buried]
        findings.some("I7", "poisonous messages are in no dead letter (service, stream, sequence, why)", absent)
        good = [(*place, why) for place, why in buried.items() if place not in planted]
        findings.some("I7", "messages are in dead letters and no poison (service, stream, sequence, reason)", good)
    finally:
        await client.close()


async def _waiting(stream: JetStreamContext) -> dict[str, int]:
    """Consumer -> messages it was not sent or did not acknowledge."""
    waiting: dict[str, int] = {}
    for name in (subjects.STREAM_HOOKS, subjects.STREAM_SECURITY):
        for info in await stream.consumers_info(name):
            count = (info.num_pending or 0) + (info.num_ack_pending or 0)
            if count:
                waiting[f"{name}:{info.name}"] = count
    return waiting


async def last_deadletter(stand: Stand) -> int:
    """The sequence number of the newest dead letter; 0 where there is none."""
    client = await stand.bus()
    try:
        state: Any = (await client.jetstream().stream_info(subjects.STREAM_DEADLETTER)).state
        return state.last_seq
    finally:
        await client.close()


async def _buried(stream: JetStreamContext, after: int) -> dict[tuple[str, str, str], str]:
    """Service, stream and sequence number in it of every dead letter behind ``after`` -> the reason given."""
    state: Any = (await stream.stream_info(subjects.STREAM_DEADLETTER)).state
    buried: dict[tuple[str, str, str], str] = {}
    for sequence in range(max(state.first_seq, after + 1), state.last_seq + 1):
        letter = await stream.get_msg(subjects.STREAM_DEADLETTER, sequence)
        headers = cast("dict[str, str]", letter.headers or {})
        service = (letter.subject or "").rsplit(".", 1)[1]
        place = service, headers[subjects.HEADER_DEADLETTER_STREAM], headers[subjects.HEADER_DEADLETTER_SEQUENCE]
        buried[place] = headers[subjects.HEADER_DEADLETTER_REASON]
    return buried
