"""TorchPredictor: PyTorch's modules."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from cas.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.errors import FormatError, RefusedError
from cas.predictors.batch import Batch
from cas.predictors.deep_learning import DLPredictor
from cas.predictors.predictor import as_checkpoint

__all__ = ["TorchPredictor"]


class TorchPredictor(DLPredictor):
    """Answers by a module, which is set to evaluation and computes no gradients."""

    def __init__(self, model: Any, preprocessor: Any | None = None, use_gpu: bool = False) -> None:
        """A module, which is moved to where it will run.

        Args:
            model: a ``torch.nn.Module``.
            preprocessor: what batches go through before it.
            use_gpu: whether it runs on the GPU, torch's current CUDA device.

        Raises:
            FormatError: it is no module.
            RefusedError: torch is not installed, or sees no GPU.
        """
        super().__init__(preprocessor)
        torch = require("torch", "torch", "a TorchPredictor")
        if not isinstance(model, torch.nn.Module):
            raise FormatError(f"a {type(model).__name__} is no torch.nn.Module")
        if use_gpu and not torch.cuda.is_available():
            raise RefusedError("use_gpu=True, and torch sees no GPU here; leave it out to predict on the CPU")
        self.use_gpu = use_gpu
        self._device = torch.device("cuda" if use_gpu else "cpu")
        self.model = model.to(self._device).eval()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        model: Any = None,
        use_gpu: bool = False,
        *,
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load the module and the preprocessor.

        Args:
            checkpoint: of any class, with a module or its weights in it.
            model: a module to load the weights into, or what makes one; needed where only weights were stored.
            use_gpu: whether it runs on the GPU.
            allow_pickle: whether a pickled module or preprocessor may be loaded, which runs code; else
                ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it holds weights alone and ``model`` is not given, or no weights.
            RefusedError: something in it is pickled, and nobody allowed that.
        """
        found = as_checkpoint(checkpoint, TorchCheckpoint).get_model(model, allow_pickle=allow_pickle)
        return cls(found, checkpoint.get_preprocessor(allow_pickle=allow_pickle), use_gpu, **kwargs)

    def predict(self, data: Batch, dtype: Any = None, **kwargs: Any) -> Batch:
        """Answer a batch.

        Args:
            data: the batch; of one column the module is given a tensor, of several a dict of tensors.
            dtype: what the tensors are made of, as a ``torch.dtype`` or its name; or a dict of these by column; by
                default the batch's own.

        Raises:
            FormatError: the module gave neither a tensor nor a dict of tensors.
        """
        return super().predict(data, dtype=dtype, **kwargs)

    def call_model(self, inputs: Any) -> Any:
        """Ask the module. A subclass overrides this for modules with other inputs or outputs.

        Args:
            inputs: a tensor, or a dict of tensors by column.

        Returns:
            A tensor, or a dict of tensors by column of the answer.
        """
        torch = require("torch", "torch", "a TorchPredictor")
        with torch.no_grad():
            return self.model(inputs)

    def _to_tensor(self, array: np.ndarray[Any, Any], dtype: Any) -> Any:
        torch = require("torch", "torch", "a TorchPredictor")
        if isinstance(dtype, str):
            if not isinstance(found := getattr(torch, dtype, None), torch.dtype):
                raise FormatError(f"{dtype!r} is no dtype of torch's; give such as 'float32'")
            dtype = found
        # A tensor writes where it likes: memory that may not be written to, as Ray's shared blocks, is copied.
        own = array if array.flags.writeable else array.copy()
        return torch.as_tensor(np.ascontiguousarray(own), dtype=dtype, device=self._device)

    def _to_array(self, tensor: Any) -> np.ndarray[Any, Any] | None:
        torch = require("torch", "torch", "a TorchPredictor")
        if not isinstance(tensor, torch.Tensor):
            return None
        tensor = tensor.detach().cpu()
        array: np.ndarray[Any, Any] = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
        return array

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={type(self.model).__name__}, use_gpu={self.use_gpu})"
