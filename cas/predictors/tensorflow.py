"""TensorflowPredictor: Keras models and SavedModels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from cas.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.tensorflow import TensorflowCheckpoint
from cas.errors import FormatError, RefusedError
from cas.predictors.batch import Batch
from cas.predictors.deep_learning import DLPredictor
from cas.predictors.predictor import as_checkpoint

__all__ = ["TensorflowPredictor"]


class TensorflowPredictor(DLPredictor):
    """Answers by a Keras model, or by what a SavedModel serves."""

    def __init__(self, *, model: Any, preprocessor: Any | None = None, use_gpu: bool = False) -> None:
        """A model.

        Args:
            model: of Keras, or what ``tf.saved_model.load`` gave.
            preprocessor: what batches go through before it.
            use_gpu: whether it runs on the first GPU.

        Raises:
            RefusedError: TensorFlow is not installed, or sees no GPU.
        """
        super().__init__(preprocessor)
        tensorflow = require("tensorflow", "tensorflow", "a TensorflowPredictor")
        if use_gpu and not tensorflow.config.list_physical_devices("GPU"):
            raise RefusedError("use_gpu=True, and TensorFlow sees no GPU here; leave it out to predict on the CPU")
        self.use_gpu = use_gpu
        self._device = "GPU:0" if use_gpu else "CPU:0"
        self.model = model

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        model_definition: Any = None,
        use_gpu: bool = False,
        *,
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load the model and the preprocessor.

        Args:
            checkpoint: of any class, with a model or its weights in it.
            model_definition: a model to put the weights into, or a function that builds it; needed where only
                weights were stored.
            use_gpu: whether it runs on the GPU.
            allow_pickle: whether code that the checkpoint holds may run; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it holds no model.
            FormatError: it holds weights alone and ``model_definition`` is not given, or does not fit.
            RefusedError: it holds code, and nobody allowed that.
        """
        found = as_checkpoint(checkpoint, TensorflowCheckpoint).get_model(model_definition, allow_pickle=allow_pickle)
        preprocessor = checkpoint.get_preprocessor(allow_pickle=allow_pickle)
        return cls(model=found, preprocessor=preprocessor, use_gpu=use_gpu, **kwargs)

    def predict(self, data: Batch, dtype: Any = None, **kwargs: Any) -> Batch:
        """Answer a batch.

        Args:
            data: the batch; of one column the model is given a tensor, of several a dict of tensors.
            dtype: what the tensors are made of, as a ``tf.DType`` or its name; or a dict of these by column; by
                default the batch's own.

        Raises:
            FormatError: the model gave neither a tensor nor a dict of tensors.
        """
        return super().predict(data, dtype=dtype, **kwargs)

    def call_model(self, inputs: Any) -> Any:
        """Ask the model. A subclass overrides this for models with other inputs or outputs.

        Args:
            inputs: a tensor, or a dict of tensors by column.

        Returns:
            A tensor, or a dict of tensors by column of the answer.
        """
        tensorflow = require("tensorflow", "tensorflow", "a TensorflowPredictor")
        with tensorflow.device(self._device):
            if callable(self.model):
                return self.model(inputs, training=False)
            if hasattr(self.model, "serve"):
                return self.model.serve(inputs)
            signature = self.model.signatures["serving_default"]
            if isinstance(inputs, dict):
                return signature(**inputs)
            (name,) = signature.structured_input_signature[1]  # of one column: its only argument
            return signature(**{name: inputs})

    def _to_tensor(self, array: np.ndarray[Any, Any], dtype: Any) -> Any:
        tensorflow = require("tensorflow", "tensorflow", "a TensorflowPredictor")
        try:
            kind = None if dtype is None else tensorflow.dtypes.as_dtype(dtype)
        except TypeError as error:
            raise FormatError(f"{dtype!r} is no dtype of TensorFlow's; give such as 'float32'") from error
        with tensorflow.device(self._device):
            tensor = tensorflow.convert_to_tensor(array)
            return tensor if kind is None else tensorflow.cast(tensor, kind)

    def _to_array(self, tensor: Any) -> np.ndarray[Any, Any] | None:
        tensorflow = require("tensorflow", "tensorflow", "a TensorflowPredictor")
        if not tensorflow.is_tensor(tensor):
            return None
        if tensor.dtype is tensorflow.bfloat16:
            tensor = tensorflow.cast(tensor, tensorflow.float32)
        array: np.ndarray[Any, Any] = tensor.numpy()
        return array

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={type(self.model).__name__}, use_gpu={self.use_gpu})"
