"""LightningPredictor: Lightning's modules, which are PyTorch's."""

from __future__ import annotations

from typing import Any, Self

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.lightning import LightningCheckpoint
from cas.predictors.predictor import as_checkpoint
from cas.predictors.torch import TorchPredictor

__all__ = ["LightningPredictor"]


class LightningPredictor(TorchPredictor):
    """Answers by a LightningModule's ``forward``, which is set to evaluation and computes no gradients."""

    @classmethod
    def from_checkpoint(  # type: ignore[override]  # a module's class is not optional here
        cls,
        checkpoint: Checkpoint,
        model_class: Any,
        *,
        preprocessor: Any | None = None,
        use_gpu: bool = False,
        allow_pickle: bool | None = None,
        **load_kwargs: Any,
    ) -> Self:
        """Load the module.

        Args:
            checkpoint: of any class, with one of Lightning's ``.ckpt`` files or weights in it.
            model_class: the LightningModule's class, or a module to load the weights into.
            preprocessor: what batches go through first; by default the checkpoint's own.
            use_gpu: whether it runs on the GPU.
            allow_pickle: whether pickled objects may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.
            load_kwargs: to Lightning's ``load_from_checkpoint``: hyper-parameters in place of those saved.
        """
        made = as_checkpoint(checkpoint, LightningCheckpoint)
        model = made.get_model(model_class, allow_pickle=allow_pickle, **load_kwargs)
        if preprocessor is None:
            preprocessor = checkpoint.get_preprocessor(allow_pickle=allow_pickle)
        return cls(model, preprocessor, use_gpu)
