"""Passwords known from breaches: a list on this machine, and on request the range service of Have I Been Pwned."""

import asyncio
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import structlog
from zxcvbn.frequency_lists import FREQUENCY_LISTS

LIST_ENTRIES_MIN: Final = 10_000
RANGE_TIMEOUT_S: Final = 5.0
RANGE_AGE_MAX_S: Final = 24 * 3_600.0
RANGE_BYTES_MAX: Final = 512 * 1024
PREFIX_CHARS: Final = 5

_LINE: Final = re.compile(r"([0-9A-F]{35}):([0-9]{1,12})")

log = structlog.get_logger(__name__)


class ListUnusableError(RuntimeError):
    """The local list is not what it should be. The service does not start without it."""


def local_list() -> frozenset[str]:
    """The passwords most seen in breaches, lower case, as zxcvbn ships them.

    Raises:
        ListUnusableError: it holds too little to be the list.
    """
    found = frozenset(FREQUENCY_LISTS["passwords"])
    if len(found) < LIST_ENTRIES_MIN:
        raise ListUnusableError(f"the list of breached passwords holds {len(found)} entries")
    return found


class RangeClient:
    """Asks for all suffixes of a hash prefix, so that the service never learns the password or its hash.

    Kept for 24 h is the range, not a verdict: another password of the same range is judged by itself. A service that
    cannot be asked lets the password pass, and ``failed`` is told why.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        failed: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.time,
        *,
        timeout_s: float = RANGE_TIMEOUT_S,
    ) -> None:
        self._url = url.rstrip("/")
        self._cache = cache
        self._failed = failed
        self._clock = clock
        self._timeout_s = timeout_s

    async def is_breached(self, password: str) -> bool:
        """Whether the service knows the password; False, too, where it cannot be asked."""
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        prefix, suffix = digest[:PREFIX_CHARS], digest[PREFIX_CHARS:]
        text = await asyncio.to_thread(self._read, prefix)
        if text is None:
            try:
                text = await self._fetch(prefix)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
                log.warning("breach check failed open", error=type(error).__name__)
                await self._failed(type(error).__name__)
                return False
            await asyncio.to_thread(self._keep, prefix, text)
        return any(found[1] == suffix and int(found[2]) > 0 for found in _LINE.finditer(text))

    async def _fetch(self, prefix: str) -> str:
        headers = {"Add-Padding": "true", "User-Agent": "hookbus"}
        chunks: list[bytes] = []
        size = 0
        async with (
            asyncio.timeout(self._timeout_s),
            httpx.AsyncClient(headers=headers, timeout=self._timeout_s) as client,
            client.stream("GET", f"{self._url}/range/{prefix}") as response,
        ):
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > RANGE_BYTES_MAX:
                    raise ValueError("the range is too long")
                chunks.append(chunk)
        text = b"".join(chunks).decode("ascii").upper()
        if _LINE.search(text) is None:
            # With padding no range is empty: this is some other page.
            raise ValueError("not a range")
        return text

    def _read(self, prefix: str) -> str | None:
        path = self._cache / prefix
        try:
            if not 0 <= self._clock() - path.stat().st_mtime < RANGE_AGE_MAX_S:
                return None
            return path.read_text(encoding="ascii")
        except (OSError, ValueError):
            return None

    def _keep(self, prefix: str, text: str) -> None:
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self._cache, prefix=".draft-")
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(text)
            os.utime(draft, (self._clock(), self._clock()))
            Path(draft).replace(self._cache / prefix)
        except OSError as error:
            log.warning("range not cached", error=type(error).__name__)
