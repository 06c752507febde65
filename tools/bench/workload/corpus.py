"""The training data: the Python standard library's source text as token ids, in two domains."""

from __future__ import annotations

import glob
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Corpus", "batches"]

# The domain to fine-tune on; a label is an index into this.
FINETUNE_PACKAGES = ("asyncio", "unittest", "importlib", "email", "http", "logging")


class Corpus:
    """Top-level modules to pretrain on, six packages to fine-tune on and to tell apart.

    Attributes:
        index: token → id, the commonest first; 0 is every token outside the vocabulary.
        pretrain: token ids of the top-level modules.
        groups: token ids of each of the packages.
        finetune: those of all packages, end to end.
    """

    def __init__(self, vocab: int) -> None:
        stdlib = Path(sysconfig.get_paths()["stdlib"])
        general = _read(sorted(glob.glob(str(stdlib / "*.py"))))
        group_texts = [_read(sorted(glob.glob(str(stdlib / name / "*.py")))) for name in FINETUNE_PACKAGES]
        counts: dict[str, int] = {}
        for token in _tokens(general + "".join(group_texts)):
            counts[token] = counts.get(token, 0) + 1
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        self.index = {token: i + 1 for i, token in enumerate(ranked[: vocab - 1])}
        self.pretrain = self._encode(general)
        self.groups = [self._encode(text) for text in group_texts]
        self.finetune = np.concatenate(self.groups)

    def _encode(self, text: str) -> NDArray[np.int64]:
        return np.array([self.index.get(token, 0) for token in _tokens(text)], dtype=np.int64)

    def labelled_windows(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``count`` windows of ``length`` tokens and, for each, which package it was cut from."""
        labels = rng.integers(0, len(self.groups), count)
        windows = np.empty((count, length), dtype=np.int64)
        for i, group in enumerate(labels):
            start = rng.integers(0, len(self.groups[group]) - length)
            windows[i] = self.groups[group][start : start + length]
        return windows, labels


def batches(
    tokens: NDArray[np.int64], seed: int, batch: int = 4, length: int = 32
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For ever: ``batch`` random windows, and the same windows one token later."""
    rng = np.random.default_rng(seed)
    while True:
        starts = rng.integers(0, len(tokens) - length - 1, batch)
        block = torch.from_numpy(np.stack([tokens[s : s + length + 1] for s in starts]))
        yield block[:, :-1], block[:, 1:]


def _read(paths: list[str]) -> str:
    return "".join(Path(path).read_text("utf-8", "replace") for path in paths)


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)
