"""Settings of the session service."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from hookbus.platform.settings import DatabaseSettings

TOKEN_PASSPHRASE_CHARS_MIN = 32


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
    breach_check_url: str | None = None
    """Root of a range service (``https://api.pwnedpasswords.com``); unset: only the local list is asked."""
    breach_check_cache_dir: Path | None = None

    @model_validator(mode="after")
    def _breach_check_is_whole(self) -> Self:
        if self.breach_check_url is not None:
            address = urlsplit(self.breach_check_url)
            if address.scheme != "https" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
                raise ValueError("breach_check_url must be https")
            if self.breach_check_cache_dir is None:
                raise ValueError("breach_check_url needs breach_check_cache_dir")
        return self
