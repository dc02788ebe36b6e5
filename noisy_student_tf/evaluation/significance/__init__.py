"""Whether a difference is one: against chance, and between two models."""
