"""``python -m hookbus.session``."""

from hookbus.session.app import main

main()
