"""Speed, as ratios measured in one run; tables in results/benchmarks."""
