"""Shards: planned, written, summed up."""
