"""The loop, what a run keeps, and the watchers that look at it."""
