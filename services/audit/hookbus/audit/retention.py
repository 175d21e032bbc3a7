"""Retention by age: what is older than it may be is pruned, a little each hour, by the process that appends."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from hookbus.audit.log import Log
from hookbus.audit.pruning import Limit, Pruning
from hookbus.audit.signing.client import SignerAwayError
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.contracts.problems import ProblemError

RETENTION_INTERVAL_S: Final = 3_600.0
RETENTION_FIRST_S: Final = 60.0
"""After a start, so that pruning does not compete with it."""
ACTOR: Final = "retention"

log = structlog.get_logger(__name__)


async def retain_forever(audited: Log, pruning: Pruning, age_days: int) -> None:
    """Prune what is older than ``age_days``. Runs until cancelled."""
    await asyncio.sleep(RETENTION_FIRST_S)
    while True:
        try:
            await retain(audited, pruning, age_days)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("retention pruned nothing", error=type(error).__name__)
        await asyncio.sleep(RETENTION_INTERVAL_S)


async def retain(audited: Log, pruning: Pruning, age_days: int) -> None:
    """One round, until no more is to be pruned. What forbids it is logged: the next round comes."""
    try:
        opened = audited.opened
        if not opened.sequencer.leads:
            return
        limit = Limit(before=datetime.now(UTC) - timedelta(days=age_days))
        reason = f"older than {age_days} days"
        while (await pruning.run(opened, limit, actor=ACTOR, reason=reason)).more:
            pass
    except ProblemError as error:
        log.warning("retention pruned nothing", code=error.problem.code, detail=error.problem.detail)
    except (SigningRefusedError, SignerAwayError) as error:
        log.warning("retention pruned nothing", detail=str(error))
