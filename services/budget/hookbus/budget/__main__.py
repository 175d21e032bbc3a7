"""``python -m hookbus.budget``."""

from hookbus.budget.app import main

main()
