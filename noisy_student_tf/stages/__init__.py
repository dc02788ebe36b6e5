"""The stages of a run: where configuration meets objects, and nowhere else."""
