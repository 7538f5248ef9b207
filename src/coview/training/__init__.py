"""The loop, what a run keeps, and what is seen in it while it runs."""
