"""Benchmarks that anyone can run: ``./tools/bench/run``; explained in docs/benchmarks.md.

`workload` makes the input, `own` is cas and `peers` what it is compared with, `compare` times
them beside each other; `s3` and `s3_tools` do so before an S3 server; `memory` and `index` show
two limits, `report` writes results down.
"""
