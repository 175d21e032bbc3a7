"""``python -m hookbus.embedded.traces``."""

from hookbus.embedded.traces.app import main

main()
