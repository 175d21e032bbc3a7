"""What the launcher starts in place of ``python -m hookbus.<service>``: the same, with points, and what a test asked
for in the control folder. Run as ``python -P process.py MODULE SERVICE CONTROL_FOLDER``."""

import json
import os
import runpy
import sys
from pathlib import Path

APPLIED = "HOOKBUS_TEST_ENVIRONMENT_APPLIED"


def main() -> None:
    module, service, control = sys.argv[1:4]
    control_folder = Path(control)
    environment_file = control_folder / f"{service}.json"
    environment: dict[str, str] = json.loads(environment_file.read_text()) if environment_file.exists() else {}
    if environment and APPLIED not in os.environ:
        # Again under the environment asked for: a library to preload is loaded at the start alone.
        os.execve(sys.executable, [sys.executable, "-P", *sys.argv], {**os.environ, **environment, APPLIED: "1"})
    sys.path.append(str(Path(__file__).parents[2]))
    from support.matrix import hooks, sabotage  # noqa: PLC0415 - found once the path is extended

    hooks.install(service, control_folder)
    sabotage.install(service, control_folder)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
