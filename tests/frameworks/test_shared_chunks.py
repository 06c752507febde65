"""The same weights in several frameworks' formats: a store keeps their tensors once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas
from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.jax import JaxCheckpoint
from cas.checkpoint.frameworks.lightning import LightningCheckpoint
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.checkpoint.frameworks.transformers import TransformersCheckpoint

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
transformers = pytest.importorskip("transformers")
lightning = pytest.importorskip("lightning.pytorch")

pytestmark = pytest.mark.slow  # importing four frameworks


class Module(lightning.LightningModule):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model


def lightning_file(model: Any, folder: Path) -> Checkpoint:
    trainer = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_model_summary=False)
    trainer.strategy.connect(Module(model))
    trainer.save_checkpoint(folder / "last.ckpt", weights_only=True)
    return LightningCheckpoint.from_path(folder / "last.ckpt")


def torch_file(model: Any, folder: Path) -> Checkpoint:
    torch.save({"model": model.state_dict(), "epoch": 3}, folder / "model.pt")
    return TorchCheckpoint.from_directory(folder)


def safetensors_file(model: Any, folder: Path) -> Checkpoint:
    safetensors.save_model(model, str(folder / "weights.safetensors"))
    return Checkpoint.from_directory(folder)


def pytree(model: Any, folder: Path) -> Checkpoint:
    return JaxCheckpoint.from_pytree({name: value.numpy() for name, value in model.state_dict().items()})


FORMATS: dict[str, Callable[[Any, Path], Checkpoint]] = {
    "TorchCheckpoint": lambda model, folder: TorchCheckpoint.from_model(model),
    "whole TorchCheckpoint": lambda model, folder: TorchCheckpoint.from_model(model, allow_pickle=True),
    "TransformersCheckpoint": lambda model, folder: TransformersCheckpoint.from_model(model),
    "LightningCheckpoint": lightning_file,
    "JaxCheckpoint": pytree,
    "dict": lambda model, folder: Checkpoint.from_dict({"model": model.state_dict()}),
    "torch.save": torch_file,
    "safetensors": safetensors_file,
}
_MOST_NEW = 0.02


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=1000, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512
    )
    model = transformers.BertForSequenceClassification(config)
    return {name: make(model, tmp_path_factory.mktemp("format")) for name, make in FORMATS.items()}


@pytest.mark.parametrize("first", FORMATS)
def test_a_second_format_adds_two_percent_at_most(checkpoints, first):
    """Whichever was first. What is new: headers, and tensors so small that they share a chunk with their neighbours."""
    for name in FORMATS.keys() - {first}:
        with cas.Store.init(f"memory://{first}-{name}") as store:
            whole = store.put(checkpoints[first])
            added = store.put(checkpoints[name])
        share = added.new_bytes / whole.new_bytes
        assert share <= _MOST_NEW, f"{name} after {first}: {share:.1%} new"
