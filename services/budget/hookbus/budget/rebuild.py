"""``python -m hookbus.budget.rebuild``: prove on live data that the balances equal the ledger, or make them so.

Exit code 0: equal, or made so by ``--repair``; 1: they differ; 2: wrong usage or settings.
"""

import argparse
import asyncio
import sys
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hookbus.budget.recount import recount
from hookbus.budget.settings import TimeZoneName
from hookbus.budget.windows import Calendar

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 600_000
"""The global account's recount reads every row there is."""


class RebuildSettings(BaseSettings):
    """The two settings of the service that matter here."""

    model_config = SettingsConfigDict(env_prefix="HOOKBUS_", env_ignore_empty=True, extra="ignore")

    database_url: SecretStr
    budget_time_zone: TimeZoneName = "UTC"


async def rebuild(url: str, zone: ZoneInfo, *, repair: bool) -> tuple[int, int]:
    """Count every account again and print each difference; how many accounts there are, and how many differ."""
    connection = await asyncpg.connect(
        url,
        timeout=CONNECT_TIMEOUT_S,
        server_settings={"application_name": "hookbus-rebuild", "statement_timeout": str(STATEMENT_TIMEOUT_MS)},
    )
    seen = differing = 0
    try:
        async for differences in recount(connection, Calendar(zone), repair=repair):
            seen += 1
            differing += bool(differences)
            for each in differences:
                print(f"{each.account}: {each.figure} is {each.balance}, the ledger says {each.recount}")  # noqa: T201 - a command
    finally:
        await connection.close()
    return seen, differing


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m hookbus.budget.rebuild", description=__doc__)
    parser.add_argument("--repair", action="store_true", help="set balances that differ to what the ledger says")
    arguments = parser.parse_args()
    try:
        settings = RebuildSettings.model_validate({})
    except ValidationError as error:
        names = ", ".join(f"HOOKBUS_{str(fault['loc'][0]).upper()}" for fault in error.errors(include_input=False))
        parser.error(f"missing or invalid: {names}")
    url = settings.database_url.get_secret_value()
    seen, differing = asyncio.run(rebuild(url, ZoneInfo(settings.budget_time_zone), repair=arguments.repair))
    print(f"{seen} accounts, {differing} differ{' and were set right' if differing and arguments.repair else ''}")  # noqa: T201 - a command
    return 1 if differing and not arguments.repair else 0


if __name__ == "__main__":
    sys.exit(main())
