"""``hookbus mcp``: what an agent may ask hookbus about itself, over the Model Context Protocol."""
