"""``python -m hookbus.embedded.jobs``: one order in, one result out."""

import importlib
import sys
from typing import Final

from hookbus.embedded.orders import ORDERS, JobResult

MODULES: Final = {"provision": "provision", "keys": "keys", "audit-secrets": "audit_secrets"}
"""Action of an order -> the module whose ``run`` does it."""

order = ORDERS.validate_json(sys.stdin.buffer.read())
job = importlib.import_module(f"hookbus.embedded.jobs.{MODULES[order.action]}")
result: JobResult = job.run(order)
sys.stdout.write(result.model_dump_json())
