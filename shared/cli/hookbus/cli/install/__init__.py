"""``hookbus install`` and ``uninstall``: the hooks in an agent's own settings, with what others wrote there kept."""
