"""The trace store of the embedded stack: takes spans by OTLP/HTTP, keeps the newest, gives one event's trace back."""
