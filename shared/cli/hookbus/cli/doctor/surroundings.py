"""What the hooks stand on: settings, the gateway and its key, the clock, the spool."""

import os
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from hookbus.cli.doctor.findings import Finding, bad, good
from hookbus.client import delivery, drain
from hookbus.client.settings import Settings
from hookbus.client.spool import Spool
from hookbus.client.spool_files import FILE_MODE, FOLDER_MODE, SpoolError
from hookbus.client.transport import TransportError, post

PROBE_PATH: Final = "/otlp/v1/metrics"
"""Takes a valid key and leaves no trace."""
PROBE_TIMEOUT_S: Final = 3.0
CLOCK_OFF_MAX_S: Final = 30.0
SPOOL_FULL_SHARE: Final = 0.8
PROBE_FILE: Final = ".doctor"
WRITABLE_REMEDY: Final = (
    "make the folder and each file in it yours and writable: a run as another user (sudo) leaves files that are not"
)


def check_settings(settings: Settings) -> Finding:
    """Whether the settings can be used."""
    if settings.fault is not None:
        return bad("client", settings.fault, "correct that setting: until then every hook is degraded")
    return good("client", f"{settings.url}, fail mode {settings.fail_modes.text}")


def check_gateway(settings: Settings) -> list[Finding]:
    """Whether the gateway answers, takes the key, and has the same time."""
    headers = {"content-type": "application/json"}
    if settings.api_key is not None:
        headers["authorization"] = f"Bearer {settings.api_key}"
    try:
        reply = post(settings.endpoint, PROBE_PATH, b"{}", headers, deadline=time.monotonic() + PROBE_TIMEOUT_S)
    except TransportError as error:
        return [bad("gateway", f"{settings.url} does not answer: {error}", "run: hookbus up, or set HOOKBUS_URL")]
    clock = _check_clock(reply.headers.get("date"))
    if reply.status == 401:
        key = bad("key", "the gateway refuses the API key", "set HOOKBUS_API_KEY: hookbus key create makes a new one")
    elif reply.status == 403:
        key = bad("key", "the API key lacks the scope events", "run: hookbus key create with the scope events")
    elif reply.status == 200:
        key = good("key", "the gateway takes the API key")
    else:
        return [
            bad("gateway", f"{settings.url} answers {reply.status}", "is that a hookbus gateway? See: hookbus status"),
            *clock,
        ]
    return [good("gateway", f"{settings.url} answers"), key, *clock]


def check_spool(settings: Settings) -> Finding:
    """Whether the spool can take an event, and whether some were set aside."""
    folder = Path(settings.spool_dir)
    store = delivery.open_spool(settings)
    try:
        _write_as_append_does(store, folder)
        if store.key_file is not None:
            store.sealer()
        state = drain.status(store)
    except SpoolError as error:
        return bad("spool", str(error), "until then no event that has to wait is kept")
    except OSError as error:
        return bad("spool", f"{folder} cannot be written: {error}", WRITABLE_REMEDY)
    held = sum(path.stat().st_size for path in folder.glob("*.seg"))
    if held >= state["bytes_max"] * SPOOL_FULL_SHARE:
        return bad("spool", f"{held} of {state['bytes_max']} bytes are taken", "run: hookbus spool flush")
    if state["rejected_events"] or state["quarantined_bytes"]:
        return bad(
            "spool",
            f"{state['rejected_events']} events were refused by the gateway, {state['quarantined_bytes']} bytes "
            "were found damaged",
            f"look at rejected.jsonl and quarantine.bin in {folder}, then move them away",
        )
    if state["sealed_otherwise"]:
        keys = ", ".join(state["sealed_otherwise"])
        return bad(
            "spool",
            f"{sum(state['sealed_otherwise'].values())} events are sealed with another key: {keys}",
            "set HOOKBUS_SPOOL_KEY_FILE to that key and run: hookbus spool flush",
        )
    sealed = ", sealed" if store.key_file is not None else ""
    return good("spool", f"{folder}: {state['waiting_events']} events wait{sealed}")


def _write_as_append_does(store: Spool, folder: Path) -> None:
    """All that storing an event does, but no line is added. Raises OSError or SpoolError."""
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    if folder.stat().st_mode & 0o077:
        folder.chmod(FOLDER_MODE)
    with store.append_lock():
        probe = folder / PROBE_FILE
        probe.touch(mode=FILE_MODE)
        probe.write_bytes(b"doctor")
        probe.unlink()
        for newest in store.segments()[-1:]:
            os.close(os.open(store.path(newest), os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW))


def _check_clock(date: str | None) -> list[Finding]:
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return []
    off_s = abs((datetime.now(UTC) - there.replace(tzinfo=there.tzinfo or UTC)).total_seconds())
    if off_s > CLOCK_OFF_MAX_S:
        remedy = "set this machine's clock (or the gateway's) by NTP"
        return [bad("clock", f"it differs from the gateway's by {off_s:.0f} s", remedy)]
    return [good("clock", "as the gateway's")]
