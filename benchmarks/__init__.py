"""Measurements; `python -m benchmarks` prints a table and writes JSON. Ratios are within one run on one machine."""
