"""What happens when something goes wrong; tables in results/robustness."""
