"""The studies: what runs, what is kept of it, what it says."""
