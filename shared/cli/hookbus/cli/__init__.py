"""The ``hookbus`` command line over the HTTP API."""
