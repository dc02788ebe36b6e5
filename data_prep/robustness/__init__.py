"""Corrupted images and perturbed sequences."""
