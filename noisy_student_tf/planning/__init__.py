"""What a run at full scale costs: arithmetic, nothing is trained."""
