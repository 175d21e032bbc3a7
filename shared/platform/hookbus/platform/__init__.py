"""What every hookbus service stands on: settings, bus, database, telemetry, health and lifecycle."""
