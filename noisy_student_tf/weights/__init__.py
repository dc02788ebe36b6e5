"""Weights that others published: read, checked, converted, written."""
