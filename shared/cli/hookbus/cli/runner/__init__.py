"""``hookbus run``: one command under guard, in a folder held by descriptor, its output recorded."""
