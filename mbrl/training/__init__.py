"""Training runs: the loop, evaluation, the run folder, metrics."""
