"""Pseudo-labels: predicted, selected, balanced."""
