"""Reserves committed in one statement, where nothing they were judged by has changed meanwhile."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from hookbus.budget.accounts import Account
from hookbus.budget.commands import Hold, Row
from hookbus.budget.repository import Connection
from hookbus.budget.windows import SLOTS, to_datetime, to_us

# Whoever writes a balance leaves the number of its transaction in the row (xmin), so a row with the number this process
# remembers is the row it remembers. The verdict comes after the locks; where it is no, no part of the statement writes.
# A reserve that was settled before it came is found by its operation, and one that was refused but had been granted
# before by its key: whoever writes either changes a balance that this statement locks. The key of one that opens a hold
# needs no looking for, its row would be the second. Each key by itself, so that a plan made while the ledger was small
# goes by the index, too.
_RESERVE: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT account_id, xmin::text::bigint AS written_by FROM budget.balances
        WHERE account_id = ANY($1::bigint[]) ORDER BY account_id FOR UPDATE
    ), verdict AS MATERIALIZED (
        SELECT seen.clock, seen.unchanged = cardinality($1::bigint[])
            AND seen.clock >= $3 AND seen.clock < $3 + make_interval(secs => $4)
            AND NOT EXISTS (
                SELECT FROM unnest($5::bigint[], $6::text[]) AS begun (agent_account, operation_id)
                JOIN budget.holds h ON h.agent_account = begun.agent_account AND h.operation_id = begun.operation_id
                WHERE h.state = 'early'
            )
            AND NOT EXISTS (
                SELECT FROM unnest($29::text[]) AS refused (key), LATERAL (
                    SELECT FROM budget.budget_history h WHERE h.dedupe_key = refused.key LIMIT 1
                ) AS known
            ) AS passed
        FROM (
            SELECT count(known.account_id) AS unchanged, clock_timestamp() AS clock
            FROM locked LEFT JOIN unnest($1::bigint[], $2::bigint[]) AS known (account_id, written_by)
                ON known.account_id = locked.account_id AND known.written_by = locked.written_by
        ) AS seen
    ), saved AS (
        UPDATE budget.balances b SET last_at_us = made.last_at_us, held_tokens = made.held_tokens,
            held_usd_micros = made.held_usd_micros, subagents = made.subagents,
            starts_us = ($12::bigint[])[(place - 1) * {len(SLOTS)} + 1 : place * {len(SLOTS)}],
            spent = ($13::bigint[])[(place - 1) * {len(SLOTS)} + 1 : place * {len(SLOTS)}]
        FROM unnest($7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::integer[]) WITH ORDINALITY
            AS made (account_id, last_at_us, held_tokens, held_usd_micros, subagents, place)
        WHERE b.account_id = made.account_id AND (SELECT passed FROM verdict)
    ), made AS MATERIALIZED (
        SELECT * FROM unnest(
            $14::timestamptz[], $15::text[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
            $21::bigint[], $22::bigint[], $23::text[], $24::text[], $25::uuid[], $26::timestamptz[], $27::text[],
            $28::text[]
        ) WITH ORDINALITY AS made (at, agent_id, agent, project, team, session, subagent, tokens, usd_micros,
            dedupe_key, event_id, reservation, expires_at, operation_id, tool, place)
        WHERE (SELECT passed FROM verdict)
    ), appended AS (
        INSERT INTO budget.budget_history (at, effective_at, operation, agent_id, agent_account, project_account,
            team_account, session_account, subagent_account, held_tokens, held_usd_micros, dedupe_key, event_id,
            reservation)
        SELECT at, at, 'reserve', agent_id, agent, project, team, session, subagent, tokens, usd_micros, dedupe_key,
            event_id, reservation FROM made ORDER BY place
    ), opened AS (
        INSERT INTO budget.holds (id, state, agent_account, project_account, team_account, session_account,
            subagent_account, tokens, usd_micros, created_at, expires_at, operation_id, tool)
        SELECT reservation, 'open', agent, project, team, session, subagent, tokens, usd_micros, at, expires_at,
            operation_id, tool FROM made
    )
    SELECT clock, passed, CASE WHEN passed THEN pg_current_xact_id()::xid::text::bigint END AS written_by FROM verdict
"""  # noqa: S608 - a constant


class Committed(NamedTuple):
    """The database's clock at the commit, and the number of its transaction."""

    clock_us: int
    written_by: int


async def reserve(
    connection: Connection,
    *,
    known: Mapping[int, int],
    clock_us: int,
    behind_max_s: float,
    begun: Collection[tuple[int, str]],
    changed: Sequence[Account],
    opened: Sequence[tuple[Row, Hold]],
    refused: Collection[str],
) -> Committed | None:
    """Write what reserves made of balances; None where it no longer holds, and nothing was written.

    Args:
        connection: outside any transaction.
        known: every account they were judged by, with the number of the transaction that last wrote it.
        clock_us: the moment they were judged at, which must not be ahead of the database's clock.
        behind_max_s: how far it may be behind.
        begun: agent account and operation id of each operation that begins or was refused.
        changed: balances as they are to be written.
        opened: rows of the ledger, each with the hold it opens.
        refused: dedupe keys of those that open none.

    Raises:
        asyncpg.UniqueViolationError: the dedupe key of an opened one is in the ledger already.
    """
    row = await connection.fetchrow(
        _RESERVE,
        list(known),
        list(known.values()),
        to_datetime(clock_us),
        behind_max_s,
        [agent for agent, _ in begun],
        [operation for _, operation in begun],
        [account.config.id for account in changed],
        [account.last_at_us for account in changed],
        [account.held[0] for account in changed],
        [account.held[1] for account in changed],
        [account.subagents for account in changed],
        [start_us for account in changed for start_us in account.starts_us],
        [count for account in changed for count in account.spent],
        [to_datetime(row.at_us) for row, _ in opened],
        [row.agent_name for row, _ in opened],
        [hold.chain.agent for _, hold in opened],
        [hold.chain.project for _, hold in opened],
        [hold.chain.team for _, hold in opened],
        [hold.chain.session for _, hold in opened],
        [hold.chain.subagent for _, hold in opened],
        [hold.tokens for _, hold in opened],
        [hold.usd_micros for _, hold in opened],
        [row.dedupe_key for row, _ in opened],
        [row.event_id for row, _ in opened],
        [hold.id for _, hold in opened],
        [to_datetime(hold.expires_at_us) for _, hold in opened],
        [hold.operation_id for _, hold in opened],
        [hold.tool for _, hold in opened],
        list(refused),
    )
    assert row is not None
    return Committed(to_us(row["clock"]), row["written_by"]) if row["passed"] else None
