"""The service's own measurements."""

from typing import Final

from prometheus_client import Counter, Histogram

RISK_RATIO: Final = Histogram(
    "hookbus_session_risk_ratio",
    "Risk of a session when a decision asked for it, 0 to 1",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
)
ASSESSMENTS: Final = Counter(
    "hookbus_session_assessments_total", "Sessions assessed for a decision, by answer", ("decision", "code")
)
