"""The page on which a person decides, and its local server."""
