"""The embedded stack: nats-server, PostgreSQL and every service as processes of one machine, under one supervisor."""
