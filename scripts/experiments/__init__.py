"""Studies of learning and planning; tables in results/experiments."""
