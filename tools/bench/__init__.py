"""Benchmarks that anyone can run: ``./tools/bench/run``; explained in docs/benchmarks.md.

`workload` makes the input, `tools` are cas and its peers, `compare` times them beside
each other, `memory` and `index` show two limits, `report` prints and writes results.
"""
