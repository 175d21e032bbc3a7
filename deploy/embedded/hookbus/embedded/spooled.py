"""What waited in the spool of the data folder while the stack was down: sent once it is up."""

import asyncio
import logging
import os
import sys
from contextlib import suppress
from typing import Final

from hookbus.embedded.layout import Layout

SPOOL_FOLDER: Final = "spool"
LOG_NAME: Final = "spool"
INHERITED_VARIABLES: Final = ("PATH", "HOME", "HOOKBUS_SPOOL_KEY_FILE")

log = logging.getLogger(__name__)


async def replay_spool(layout: Layout, url: str) -> None:
    """Run ``hookbus spool flush`` in a process of its own; what it says is in ``logs/spool.log``.

    Nothing runs where nothing waits. What cannot be sent goes on waiting for the next hook.
    """
    if not any((layout.root / SPOOL_FOLDER).glob("*.seg")):
        return
    inherited = {name: value for name in INHERITED_VARIABLES if (value := os.environ.get(name))}
    environment = {**inherited, "HOOKBUS_DATA_DIR": str(layout.root), "HOOKBUS_URL": url}
    try:
        with layout.log_file(LOG_NAME).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "hookbus.client", "spool", "flush"),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
    except OSError as error:
        log.warning("the spool cannot be sent: %s", error)
        return
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if code == 0:
        log.info("what waited in the spool was sent")
    else:
        log.warning("some of what waits in the spool was not sent, see logs/spool.log (exit code %d)", code)
