"""Settings of the session service."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from hookbus.platform.settings import DatabaseSettings
from hookbus.session.domain.risk import ASK_RISK, BUDGET_FACTOR, FLAG_RISK, KILL_RISK, TIGHTEN_RISK, Thresholds

TOKEN_PASSPHRASE_CHARS_MIN = 32
Risk = Annotated[float, Field(gt=0.02, le=1.0, allow_inf_nan=False)]
"""Above the risk of a session against which nothing stands; at 1 what it stands for is never done."""


class SessionLimitPolicy(StrEnum):
    """What a login beyond a user's last free session does."""

    END_OLDEST = "end_oldest"
    REFUSE = "refuse"


class SessionSettings(DatabaseSettings):
    """What the session service needs on top of its tables."""

    token_passphrase: Annotated[SecretStr, Field(min_length=TOKEN_PASSPHRASE_CHARS_MIN)]
    """What signing keys and TOTP secrets are encrypted under, and refresh tokens are tagged with. Shared by every
    process of the service; with another one nobody's tokens are accepted any more."""
    session_limit_policy: SessionLimitPolicy = SessionLimitPolicy.END_OLDEST
    risk_flag: Risk = FLAG_RISK
    risk_ask: Risk = ASK_RISK
    risk_kill: Risk = KILL_RISK
    risk_tighten: Risk = TIGHTEN_RISK
    risk_budget_factor: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = BUDGET_FACTOR
    """What stays of an agent's own limits while its session's risk is at ``risk_tighten`` or above."""
    geoip_file: Path | None = None
    """A file in MaxMind's DB format: where people call from, for journeys that nobody can have made."""
    breach_check_url: str | None = None
    """Root of a range service (``https://api.pwnedpasswords.com``); unset: only the local list is asked."""
    breach_check_cache_dir: Path | None = None

    @property
    def thresholds(self) -> Thresholds:
        """From which risk on what is done."""
        return Thresholds(self.risk_flag, self.risk_ask, self.risk_kill, self.risk_tighten, self.risk_budget_factor)

    @model_validator(mode="after")
    def _risks_are_in_order(self) -> Self:
        if not self.risk_flag <= self.risk_ask <= self.risk_kill:
            raise ValueError("risk_flag, risk_ask and risk_kill must not decrease in this order")
        return self

    @model_validator(mode="after")
    def _breach_check_is_whole(self) -> Self:
        if self.breach_check_url is not None:
            address = urlsplit(self.breach_check_url)
            if address.scheme != "https" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
                raise ValueError("breach_check_url must be https")
            if self.breach_check_cache_dir is None:
                raise ValueError("breach_check_url needs breach_check_cache_dir")
        return self
