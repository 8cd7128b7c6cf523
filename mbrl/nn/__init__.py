"""What networks share: batched MLPs, normalizer, early stopping, random generators, CUDA graphs."""
