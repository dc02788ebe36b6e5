"""The models and their noise."""
