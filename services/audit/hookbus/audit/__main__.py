"""``python -m hookbus.audit``."""

from hookbus.audit.app import main

main()
