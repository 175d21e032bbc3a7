"""Writes the dashboards: ``python deploy/grafana/generate.py``. A test says when the files are not what this makes.

A dashboard is a list of rows, a row a list of panels: title, unit, and one query for each line.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "dashboards"
WIDTH: Final = 24
PANEL_HEIGHT: Final = 8
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
RATE: Final = "$__rate_interval"


class Panel(NamedTuple):
    """One graph. ``unit`` is Grafana's word; ``queries`` are PromQL with the legend of each."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    words: str = ""


def rate(metric: str, by: str = "", where: str = "") -> str:
    """The rate a second, summed."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{{{where}}}[{RATE}]))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram."""
    group = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({group}) (rate({metric}_bucket{{{where}}}[{RATE}])))"


DECIDE: Final = 'route="/api/v1/decide"'
EVENTS: Final = 'route="/api/v1/events"'
FAILED: Final = 'status=~"5.."'
REFUSED: Final = 'code!="ok"'

DASHBOARDS: Final[dict[str, tuple[str, tuple[tuple[Panel, ...], ...]]]] = {
    "overview": (
        "Hookbus: overview",
        (
            (
                Panel("Requests by route", "reqps", ((rate("hookbus_http_requests_total", "route"), "{{route}}"),)),
                Panel(
                    "Decisions",
                    "reqps",
                    ((rate("hookbus_decisions_total", "decision, code"), "{{decision}} {{code}}"),),
                ),
                Panel("Events stored by kind", "eps", ((rate("hookbus_events_accepted_total", "kind"), "{{kind}}"),)),
            ),
            (
                Panel(
                    "Time to decide",
                    "s",
                    tuple(
                        (quantile(share, "hookbus_http_request_seconds", where=DECIDE), name)
                        for share, name in ((0.5, "p50"), (0.99, "p99"))
                    ),
                    "Target: p99 under 100 ms.",
                ),
                Panel(
                    "Time to store events",
                    "s",
                    tuple(
                        (quantile(share, "hookbus_http_request_seconds", where=EVENTS), name)
                        for share, name in ((0.5, "p50"), (0.99, "p99"))
                    ),
                ),
                Panel(
                    "Share of requests that failed",
                    "percentunit",
                    (
                        (
                            (
                                f"({rate('hookbus_http_requests_total', where=FAILED)} or vector(0))"
                                f" / {rate('hookbus_http_requests_total')}"
                            ),
                            "5xx",
                        ),
                    ),
                    "Targets: under 0.1 %, never over 1 %.",
                ),
            ),
            (
                Panel("Processes that answer", "short", (('up{job="hookbus"}', "{{service}}"),)),
                Panel("Problems by code", "reqps", ((rate("hookbus_problems_total", "code"), "{{code}}"),)),
                Panel(
                    "Spans",
                    "cps",
                    (
                        (rate("hookbus_trace_spans_exported_total"), "exported"),
                        (rate("hookbus_trace_spans_dropped_total", "reason"), "dropped: {{reason}}"),
                    ),
                ),
            ),
        ),
    ),
    "budget": (
        "Hookbus: budget",
        (
            (
                Panel(
                    "Reservations by answer",
                    "reqps",
                    ((rate("hookbus_budget_reservations_total", "code"), "{{code}}"),),
                ),
                Panel(
                    "Share of operations refused",
                    "percentunit",
                    (
                        (
                            (
                                f"({rate('hookbus_budget_reservations_total', where=REFUSED)} or vector(0))"
                                f" / {rate('hookbus_budget_reservations_total')}"
                            ),
                            "refused",
                        ),
                    ),
                ),
                Panel("Open reservations", "short", (("sum(hookbus_budget_open_holds)", "open"),)),
            ),
            (
                Panel(
                    "Ledger commands",
                    "ops",
                    ((rate("hookbus_budget_commands_total", "command, outcome"), "{{command}} {{outcome}}"),),
                ),
                Panel(
                    "Ledger transaction",
                    "s",
                    (
                        (quantile(0.5, "hookbus_budget_transaction_seconds"), "p50"),
                        (quantile(0.99, "hookbus_budget_transaction_seconds"), "p99"),
                    ),
                ),
                Panel(
                    "Commands in one transaction",
                    "short",
                    ((quantile(0.9, "hookbus_budget_transaction_commands"), "p90"),),
                ),
            ),
            (
                Panel(
                    "Reported over computed cost",
                    "none",
                    (("max(hookbus_budget_drift_ratio)", "ratio"),),
                    "1 where what agents report is what the prices say.",
                ),
            ),
        ),
    ),
    "security": (
        "Hookbus: security",
        (
            (
                Panel(
                    "Denials and questions",
                    "reqps",
                    (
                        (
                            rate("hookbus_decisions_total", "decision, code", 'decision!="allow"'),
                            "{{decision}} {{code}}",
                        ),
                    ),
                ),
                Panel(
                    "Refused inputs", "reqps", ((rate("hookbus_problems_total", "code", 'code="input_refused"'), ""),)
                ),
                Panel(
                    "Failed authentications",
                    "reqps",
                    ((rate("hookbus_authentication_failures_total"), "without a valid credential"),),
                ),
            ),
            (
                Panel(
                    "Risk of sessions",
                    "percentunit",
                    tuple(
                        (quantile(share, "hookbus_session_risk_ratio"), name)
                        for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
                    ),
                ),
                Panel(
                    "Assessments by answer",
                    "reqps",
                    ((rate("hookbus_session_assessments_total", "decision, code"), "{{decision}} {{code}}"),),
                ),
                Panel(
                    "Requests met with a limit",
                    "reqps",
                    ((rate("hookbus_problems_total", where='code="rate_limited"'), "rate limited"),),
                ),
            ),
        ),
    ),
    "audit": (
        "Hookbus: audit",
        (
            (
                Panel("Entries in the log", "short", (("max(hookbus_audit_log_entries)", "entries"),)),
                Panel("Age of the newest checkpoint", "s", (("min(hookbus_audit_checkpoint_age_seconds)", "age"),)),
                Panel(
                    "Entries without a checkpoint, an anchor, a witness",
                    "short",
                    (
                        ("max(hookbus_audit_unsigned_entries)", "unsigned"),
                        ("max(hookbus_audit_anchor_lag_entries)", "not anchored"),
                        ("max(hookbus_audit_witness_lag_entries)", "not cosigned"),
                    ),
                ),
            ),
            (
                Panel(
                    "Time to append a batch",
                    "s",
                    (
                        (quantile(0.5, "hookbus_audit_append_seconds"), "p50"),
                        (quantile(0.99, "hookbus_audit_append_seconds"), "p99"),
                    ),
                ),
                Panel("Events in one batch", "short", ((quantile(0.9, "hookbus_audit_append_entries"), "p90"),)),
                Panel("Signer refuses", "short", (("max(hookbus_audit_signer_refuses)", "refuses"),)),
            ),
        ),
    ),
    "bus-and-database": (
        "Hookbus: bus and database",
        (
            (
                Panel(
                    "Events a consumer is behind",
                    "short",
                    (("max by (service, stream) (hookbus_consumer_lag_events)", "{{service}} {{stream}}"),),
                ),
                Panel(
                    "Redeliveries",
                    "eps",
                    ((rate("hookbus_consumer_redeliveries_total", "service, stream"), "{{service}} {{stream}}"),),
                ),
                Panel(
                    "Dead letters",
                    "short",
                    (
                        ("max(hookbus_deadletters_kept_messages)", "kept"),
                        ("sum by (service) (increase(hookbus_deadletters_total[1h]))", "new in an hour: {{service}}"),
                    ),
                ),
            ),
            (
                Panel("Events in one group commit", "short", ((quantile(0.9, "hookbus_publish_group_events"), "p90"),)),
                Panel(
                    "Time until the bus confirmed",
                    "s",
                    (
                        (quantile(0.5, "hookbus_publish_seconds"), "p50"),
                        (quantile(0.99, "hookbus_publish_seconds"), "p99"),
                    ),
                ),
                Panel(
                    "Time to answer over the bus",
                    "s",
                    ((quantile(0.99, "hookbus_rpc_request_seconds", "subject"), "{{subject}}"),),
                ),
            ),
            (
                Panel(
                    "Database connections in use",
                    "short",
                    (
                        ("sum by (service) (hookbus_database_pool_used_connections)", "{{service}}"),
                        ("min by (service) (hookbus_database_pool_max_connections)", "{{service}}: at most"),
                    ),
                ),
                Panel(
                    "Wait for a connection",
                    "s",
                    ((quantile(0.99, "hookbus_database_pool_wait_seconds", "service"), "{{service}} p99"),),
                ),
                Panel(
                    "Statement time",
                    "s",
                    (
                        (
                            quantile(0.99, "hookbus_database_query_seconds", "service, operation"),
                            "{{service}} {{operation}}",
                        ),
                    ),
                ),
            ),
            (
                Panel(
                    "Events replayed from spools", "eps", ((rate("hookbus_spool_replayed_events_total"), "replayed"),)
                ),
                Panel("Events not confirmed", "eps", ((rate("hookbus_publish_failures_total"), "failed"),)),
            ),
        ),
    ),
}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    title, rows = DASHBOARDS[name]
    panels: list[dict[str, Any]] = []
    for row_number, row in enumerate(rows):
        width = WIDTH // len(row)
        for column, panel in enumerate(row):
            place = {"x": column * width, "y": row_number * PANEL_HEIGHT, "w": width, "h": PANEL_HEIGHT}
            panels.append(_panel(len(panels) + 1, panel, place))
    return {
        "uid": f"hookbus-{name}",
        "title": title,
        "tags": ["hookbus"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}]
        },
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.words,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, "datasource": DATASOURCE}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


def text(name: str) -> str:
    """The file of one dashboard."""
    return json.dumps(dashboard(name), indent=2) + "\n"


def main() -> int:
    """Write every dashboard."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
