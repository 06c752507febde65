"""What predictors of tensors share: arrays become tensors, and what the model gives becomes arrays again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from cas.errors import FormatError
from cas.predictors.batch import PREDICTIONS, BatchFormat
from cas.predictors.conversion import stacked
from cas.predictors.predictor import Predictor

__all__ = ["DLPredictor"]


class DLPredictor(Predictor):
    """Answers by a model that takes a tensor, or a dict of tensors by column, and gives either."""

    @classmethod
    def preferred_batch_format(cls) -> BatchFormat:
        """Arrays."""
        return BatchFormat.NUMPY

    @abstractmethod
    def call_model(self, inputs: Any) -> Any:
        """Ask the model: a tensor or a dict of tensors in, and the like out."""

    @abstractmethod
    def _to_tensor(self, array: np.ndarray[Any, Any], dtype: Any) -> Any:
        """An array as a tensor where the model is."""

    @abstractmethod
    def _to_array(self, tensor: Any) -> np.ndarray[Any, Any] | None:
        """A tensor as an array, or None if it is no tensor."""

    def _predict_numpy(self, data: Any, dtype: Any = None) -> Any:  # type: ignore[override]  # refuses other options
        output = self.call_model(self._inputs(data, dtype))
        named = output if isinstance(output, Mapping) else {PREDICTIONS: output}
        answer = {name: self._to_array(tensor) for name, tensor in named.items()}
        if unknown := [name for name, array in answer.items() if array is None]:
            raise FormatError(
                f"the model gave a {type(named[unknown[0]]).__name__}, where a tensor or a dict of tensors is expected;"
                f"\noverride call_model in a subclass of {type(self).__name__} to make one of it"
            )
        return {name: array.reshape(1) if array is not None and not array.ndim else array
                for name, array in answer.items()}  # fmt: skip

    def _inputs(self, data: Any, dtype: Any) -> Any:
        if isinstance(data, np.ndarray):
            if isinstance(dtype, Mapping):
                raise FormatError("dtype= is by column, and the batch is an array, which has none; give one dtype")
            return self._tensor("the batch", data, dtype)
        tensors = {
            name: self._tensor(f"column {name!r}", array, dtype.get(name) if isinstance(dtype, Mapping) else dtype)
            for name, array in data.items()
        }
        return next(iter(tensors.values())) if len(tensors) == 1 else tensors

    def _tensor(self, what: str, array: np.ndarray[Any, Any], dtype: Any) -> Any:
        array = stacked(array)
        if array.dtype.kind in "OUSMm":
            raise FormatError(
                f"{what} holds values of {array.dtype}, and tensors hold numbers: preprocess it, or leave it out by"
                " feature_columns"
            )
        return self._to_tensor(array, dtype)
