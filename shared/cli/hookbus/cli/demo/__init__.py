"""``hookbus demo``: a recorded Claude Code session, played through the real hook command on a stack of its own."""
