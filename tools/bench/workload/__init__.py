"""Realistic trees of training checkpoints, made by really training on the CPU.

Nothing here is synthetic noise: every byte comes from optimising a model on real
text (the source code of the Python standard library, so that no download is
needed). Needs numpy, torch and safetensors only: the `bench` extra.

The same seed, scale, thread count, Python and torch give the same bytes on the
same type of CPU; ``<scenario>.workload.json`` beside each scenario records them.

`corpus` is the text, `models` what is trained, `scenarios` how it is trained and
saved, and ``python -m tools.bench.workload`` the command.
"""
