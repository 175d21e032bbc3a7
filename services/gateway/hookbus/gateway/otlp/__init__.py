"""Agents' own telemetry: OTLP log records in, usage reports out."""
