"""Prefect flows and the `stylealign` command: the order of steps, nothing else."""
