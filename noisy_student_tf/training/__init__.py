"""Training: the loop, a step, losses, schedules, and what is kept of them."""
