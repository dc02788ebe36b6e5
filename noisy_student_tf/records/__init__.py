"""Records: their keys, shards and manifests."""
