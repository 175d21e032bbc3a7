"""``python -m hookbus.gateway``."""

from hookbus.gateway.app import main

main()
