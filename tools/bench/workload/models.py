"""What is trained: a small GPT with and without adapters, a NumPy MLP and boosted trees.

The order in which parameters are created and random numbers are drawn decides the
bytes of every checkpoint: changing it makes another workload.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

__all__ = ["Boosted", "LoraLinear", "NumpyMLP", "TinyGPT"]

Floats = NDArray[np.float64]


class Block(nn.Module):
    """One transformer layer: attention, then a feed-forward network."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(d)
        self.qkv: nn.Module = nn.Linear(d, 3 * d)
        self.proj: nn.Module = nn.Linear(d, d)
        self.ln_2 = nn.LayerNorm(d)
        self.fc_in = nn.Linear(d, 4 * d)
        self.fc_out = nn.Linear(4 * d, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).reshape(b, t, d))
        return x + self.fc_out(F.gelu(self.fc_in(self.ln_2(x))))


class TinyGPT(nn.Module):
    """A GPT-2 style language model with tied input and output embeddings."""

    def __init__(self, vocab: int, d_model: int, layers: int, context: int = 128) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab, d_model)
        self.wpe = nn.Embedding(context, d_model)
        self.h = nn.ModuleList(Block(d_model, d_model // 32) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d_model)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        """The last layer's output for every token."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)

    def loss(self, ids: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross entropy of the next token."""
        logits = F.linear(self.hidden(ids), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank term beside it."""

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(rank))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scale

    def merged(self) -> torch.Tensor:
        """The weight of the plain linear layer that computes the same."""
        return self.base.weight + self.lora_B @ self.lora_A * self.scale


class NumpyMLP:
    """A two-layer classifier with momentum, trained by hand-written gradients."""

    def __init__(self, rng: np.random.Generator, inputs: int, hidden: int, classes: int, lr: float) -> None:
        self.lr = lr
        self.params: dict[str, Floats] = {
            "w1": rng.normal(0, 0.05, (inputs, hidden)),
            "b1": np.zeros(hidden),
            "w2": rng.normal(0, 0.05, (hidden, classes)),
            "b2": np.zeros(classes),
        }
        self.momentum = {name: np.zeros_like(value) for name, value in self.params.items()}

    def step(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
        """One optimiser step on inputs and one-hot labels; returns the loss before it."""
        p = self.params
        h = np.tanh(x @ p["w1"] + p["b1"])
        z = h @ p["w2"] + p["b2"]
        q = np.exp(z - z.max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        dz = (q - y) / len(x)
        dh = dz @ p["w2"].T * (1 - h * h)
        grads = {"w1": x.T @ dh, "b1": dh.sum(0), "w2": h.T @ dz, "b2": dz.sum(0)}
        for name, grad in grads.items():
            self.momentum[name] = 0.9 * self.momentum[name] + grad
            p[name] = p[name] - self.lr * self.momentum[name]
        return float(-np.log((q * y).sum(1) + 1e-9).mean())


class Boosted:
    """Histogram gradient boosting, one tree a class a round, as XGBoost does it."""

    def __init__(self, x: NDArray[np.float32], classes: int, eta: float, depth: int = 5, bins: int = 8) -> None:
        self.x = np.minimum(x, bins - 1).astype(np.int64)
        self.bins, self.depth, self.eta = bins, depth, eta
        self.scores = np.zeros((len(x), classes))
        self.trees: list[dict[str, Any]] = []

    def add_round(self, onehot: NDArray[np.float32]) -> None:
        """Grow one tree for each class."""
        q = np.exp(self.scores - self.scores.max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        for c in range(onehot.shape[1]):
            self._grow(c, q[:, c] - onehot[:, c], q[:, c] * (1 - q[:, c]))

    def _grow(self, c: int, grad: Floats, hess: Floats) -> None:
        n, feats = self.x.shape
        nodes = 2 ** (self.depth + 1) - 1
        feature, threshold = np.full(nodes, -1, np.int32), np.zeros(nodes, np.float32)
        value, cover = np.zeros(nodes), np.zeros(nodes)
        at = np.zeros(n, np.int64)
        for level in range(self.depth):
            first, width = 2**level - 1, 2**level
            key = ((at - first)[:, None] * feats + np.arange(feats)) * self.bins + self.x
            size = width * feats * self.bins
            shape = (width, feats, self.bins)
            g = np.bincount(key.ravel(), np.repeat(grad, feats), size).reshape(shape).cumsum(2)
            h = np.bincount(key.ravel(), np.repeat(hess, feats), size).reshape(shape).cumsum(2)
            tg, th = g[:, :, -1:], h[:, :, -1:]
            gain = g**2 / (h + 1) + (tg - g) ** 2 / (th - h + 1) - tg**2 / (th + 1)
            best = gain[:, :, :-1].reshape(width, -1).argmax(1)
            feature[first : first + width] = best // (self.bins - 1)
            threshold[first : first + width] = best % (self.bins - 1)
            at = 2 * at + 1 + (self.x[np.arange(n), feature[at]] > threshold[at])
        np.add.at(value, at, -grad)
        np.add.at(cover, at, hess)
        value = self.eta * value / (cover + 1)
        self.scores[:, c] += value[at]
        self.trees.append({"class": c, "feature": feature, "threshold": threshold, "value": value, "cover": cover})
