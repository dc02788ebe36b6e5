"""The report's sections of single classes."""
