"""The study on photographs of solar cells: what unlabeled images give."""
