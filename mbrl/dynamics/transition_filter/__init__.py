"""Reward-consistent dynamics (MOREC, Luo et al. 2024): a dynamics reward filters predictions."""
