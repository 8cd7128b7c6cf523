"""Benchmarks, studies and robustness checks: run from the root, `python -m scripts.FOLDER.NAME`."""
