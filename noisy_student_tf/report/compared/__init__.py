"""Runs beside each other, and what people's corrections gave."""
