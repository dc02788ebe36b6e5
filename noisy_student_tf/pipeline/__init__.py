"""The input pipeline: from shards to batches."""
