"""What a person is asked about a run, and what the answers are."""
