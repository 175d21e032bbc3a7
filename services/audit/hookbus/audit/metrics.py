"""The service's own measurements. Gauges of the log are true in the process that appends, NaN in one that stands by."""

import math
import time
from typing import Final

from prometheus_client import Gauge, Histogram

from hookbus.audit.log import Log
from hookbus.contracts.problems import ProblemError
from hookbus.platform.metrics import COUNT_BUCKETS, LATENCY_BUCKETS_S

APPEND_SECONDS: Final = Histogram(
    "hookbus_audit_append_seconds", "Time until a batch of events was in the log, in seconds", buckets=LATENCY_BUCKETS_S
)
APPEND_ENTRIES: Final = Histogram(
    "hookbus_audit_append_entries", "Events of one batch given to the log", buckets=COUNT_BUCKETS
)
LOG_ENTRIES: Final = Gauge("hookbus_audit_log_entries", "Entries in the log")
CHECKPOINT_AGE_SECONDS: Final = Gauge("hookbus_audit_checkpoint_age_seconds", "Seconds since the newest checkpoint")
UNSIGNED_ENTRIES: Final = Gauge("hookbus_audit_unsigned_entries", "Entries that no checkpoint covers yet")
ANCHOR_LAG_ENTRIES: Final = Gauge(
    "hookbus_audit_anchor_lag_entries", "Entries in the log that the anchor furthest behind does not cover"
)
ANCHOR_AGE_SECONDS: Final = Gauge(
    "hookbus_audit_anchor_age_seconds",
    "Seconds since all anchors and witnesses had the newest checkpoint; 0 where none is set",
)
WITNESS_LAG_ENTRIES: Final = Gauge(
    "hookbus_audit_witness_lag_entries", "Entries in the log that the witness furthest behind has not cosigned"
)
SIGNER_REFUSES: Final = Gauge("hookbus_audit_signer_refuses", "1 while the signer refuses to sign the log, else 0")


class _Watch:
    """Reads the log when it is asked for a gauge."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._began = time.monotonic()

    def entries(self) -> float:
        try:
            position = self._log.opened.sequencer.position
        except ProblemError:
            return math.nan
        return math.nan if position is None else position.tree.frontier.size

    def checkpoint_age_s(self) -> float:
        if math.isnan(self.entries()):
            return math.nan
        published = self._log.opened.publisher.published_at_s
        return time.monotonic() - (self._began if published is None else published)

    def unsigned(self) -> float:
        entries = self.entries()
        if math.isnan(entries):
            return math.nan
        last = self._log.opened.signer.last
        return entries - (0 if last is None else last.size)

    def anchor_lag(self) -> float:
        entries = self.entries()
        return math.nan if math.isnan(entries) else self._log.opened.outreach.anchor_lag(int(entries))

    def anchor_age_s(self) -> float:
        return math.nan if math.isnan(self.entries()) else self._log.opened.outreach.behind_s()

    def witness_lag(self) -> float:
        entries = self.entries()
        return math.nan if math.isnan(entries) else self._log.opened.outreach.witness_lag(int(entries))

    def refuses(self) -> float:
        return math.nan if math.isnan(self.entries()) else float(self._log.opened.publisher.refused is not None)


def watch(log: Log) -> None:
    """Measure ``log`` whenever the metrics are read."""
    seen = _Watch(log)
    LOG_ENTRIES.set_function(seen.entries)
    CHECKPOINT_AGE_SECONDS.set_function(seen.checkpoint_age_s)
    UNSIGNED_ENTRIES.set_function(seen.unsigned)
    ANCHOR_LAG_ENTRIES.set_function(seen.anchor_lag)
    ANCHOR_AGE_SECONDS.set_function(seen.anchor_age_s)
    WITNESS_LAG_ENTRIES.set_function(seen.witness_lag)
    SIGNER_REFUSES.set_function(seen.refuses)
