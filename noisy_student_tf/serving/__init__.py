"""An exported model in service: its graph, its formats, a page to try it."""
