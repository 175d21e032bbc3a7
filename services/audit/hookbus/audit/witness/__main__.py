"""``python -m hookbus.audit.witness --name NAME --folder DIR --log VERIFIER_KEY [--log ...] [--host H] [--port P]``."""

import argparse
from pathlib import Path
from typing import Final

import uvicorn

from hookbus.audit.note import NoteInvalidError, VerifierKey
from hookbus.audit.witness.app import application
from hookbus.audit.witness.keeper import Keeper

PORT_DEFAULT: Final = 8790


def run(name: str, folder: Path, logs: list[str], host: str, port: int) -> None:
    """Serve until SIGTERM; raises NoteInvalidError for a malformed key."""
    keeper = Keeper(folder, name, [VerifierKey.parse(log) for log in logs])
    print(keeper.verifier_key.text, flush=True)  # noqa: T201 - the key is what whoever starts a witness passes on
    uvicorn.run(application(keeper), host=host, port=port, access_log=False, server_header=False, log_level="warning")


def main() -> None:
    """Run a witness."""
    parser = argparse.ArgumentParser(prog="python -m hookbus.audit.witness")
    parser.add_argument("--name", required=True, help="the witness's name, a URL without its scheme")
    parser.add_argument("--folder", required=True, type=Path, help="where its key and its memory lie")
    parser.add_argument("--log", required=True, action="append", help="public key of a log to watch")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT_DEFAULT)
    arguments = parser.parse_args()
    try:
        run(arguments.name, arguments.folder, arguments.log, arguments.host, arguments.port)
    except (NoteInvalidError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
