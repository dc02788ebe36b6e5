"""From pictures to shards, as Apache Beam pipelines."""
