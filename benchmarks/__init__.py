"""Measurements of ours beside the peers'."""
