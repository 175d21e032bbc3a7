"""``python -m hookbus.jobs secrets|provision|migrate|credentials|show``."""

import argparse
from collections.abc import Callable
from typing import Final

from hookbus.jobs import credentials, provision, secrets
from hookbus.jobs.settings import JobSettings

JOBS: Final[dict[str, Callable[[JobSettings], None]]] = {
    "secrets": secrets.run,
    "provision": provision.run_provision,
    "migrate": provision.run_migrate,
    "credentials": credentials.run,
    "show": credentials.show,
}

parser = argparse.ArgumentParser(prog="python -m hookbus.jobs", description="One-shot jobs of a container installation")
parser.add_argument("job", choices=JOBS)
JOBS[parser.parse_args().job](JobSettings())
