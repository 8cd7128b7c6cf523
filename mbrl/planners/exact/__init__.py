"""Exact planners: mixed-integer programs and branch and bound on piecewise-linear models."""
