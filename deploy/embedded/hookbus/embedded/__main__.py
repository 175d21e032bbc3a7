"""The background supervisor that ``hookbus up --detach`` starts: reports on a pipe whether the stack came up."""

import json
import os
import sys
from pathlib import Path

from hookbus.embedded.layout import Layout
from hookbus.embedded.runner import CannotStartError, run


def main(arguments: list[str]) -> int:
    """Run the stack described by one JSON argument; the first line on its pipe says how the start went."""
    order = json.loads(arguments[0])
    with os.fdopen(order["report_descriptor"], "w", encoding="utf-8") as report:

        def tell(**outcome: str) -> None:
            report.write(json.dumps(outcome) + "\n")
            report.close()

        try:
            run(
                Layout(Path(order["root"])),
                host=order["host"],
                port=order["port"],
                on_ready=lambda url: tell(url=url),
            )
        except CannotStartError as error:
            if not report.closed:
                tell(error=str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
