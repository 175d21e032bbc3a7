"""The one-shot jobs of a container installation, in the order ``docker-compose.yml`` runs them.

They do what ``hookbus up`` does for the embedded stack, with the same code; what differs is where secrets lie: a
volume for each process, mounted into it alone, in place of one data folder.
"""
