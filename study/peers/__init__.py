"""Methods that are not ours, on the shards of our runs."""
