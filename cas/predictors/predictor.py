"""Predictor: a model and its preprocessor, made from a checkpoint, that answer batches.

A subclass says how it is made (`Predictor.from_checkpoint`) and how it answers, by one of two hooks: `_predict_pandas`
for DataFrames, `_predict_numpy` for arrays. Whatever batch the caller has is converted, and the answer comes
back in the form that the batch had. What a port from Ray AIR finds changed is in docs/predict.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar

import numpy as np

from cas.checkpoint import Checkpoint
from cas.errors import FormatError
from cas.predictors.batch import Batch, BatchFormat, check_batch
from cas.predictors.conversion import like, to_numpy, to_pandas
from cas.predictors.failures import PredictorNotSerializableException
from cas.predictors.preprocessing import preprocess

__all__ = ["Predictor", "as_checkpoint"]

C = TypeVar("C", bound=Checkpoint)


class Predictor(ABC):
    """Answers batches with a model that came out of a checkpoint. It cannot be pickled; the checkpoint can."""

    def __init__(self, preprocessor: Any | None = None) -> None:
        """Subclasses call this.

        Args:
            preprocessor: what batches go through before the model: one of scikit-learn's or of Ray Data's.
        """
        self._preprocessor = preprocessor

    @classmethod
    @abstractmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Self:
        """Load the model.

        Args:
            checkpoint: of any class, and of any view: one from `Checkpoint.from_hash` alone will do.
            kwargs: by predictor.
        """

    @classmethod
    def from_pandas_udf(cls, pandas_udf: Callable[..., Any]) -> Predictor:
        """A predictor that calls a function.

        Args:
            pandas_udf: takes a DataFrame and `predict`'s keyword arguments, gives a DataFrame.
        """
        return FunctionPredictor(pandas_udf)

    def get_preprocessor(self) -> Any | None:
        """What batches go through before the model, or None."""
        if "_preprocessor" not in self.__dict__:
            raise NotImplementedError(f"{type(self).__name__}.__init__ must call super().__init__(preprocessor)")
        return self._preprocessor

    def set_preprocessor(self, preprocessor: Any | None) -> None:
        """Replace it, or by None leave it out."""
        self._preprocessor = preprocessor

    @classmethod
    def preferred_batch_format(cls) -> BatchFormat:
        """Which hook answers where a subclass has both: the one for DataFrames, unless it says otherwise here."""
        return BatchFormat.PANDAS

    @classmethod
    def batch_format(cls) -> BatchFormat:
        """What batches are made for this class: the form of the hook it has, or of the one that it prefers.

        Raises:
            NotImplementedError: it has none.
        """
        hooks = cls._hooks()
        return hooks[0] if len(hooks) == 1 else BatchFormat(cls.preferred_batch_format())

    def predict(self, data: Batch, **kwargs: Any) -> Batch:
        """Answer a batch: preprocess it, then ask the model.

        Args:
            data: a NumPy array, a dict of arrays, a pandas DataFrame or an Arrow Table; it is not changed.
            kwargs: by predictor.

        Returns:
            The same form as ``data``. To an array without names, predictors that name their answers give a
            dict of arrays.

        Raises:
            FormatError: ``data`` is no batch, or the answer is none.
            NotImplementedError: the subclass has neither hook, or does not call ``super().__init__``.
        """
        preprocessor = self.get_preprocessor()
        check_batch(data)
        return like(self._answer(preprocess(preprocessor, data), kwargs), data)

    def _predict_pandas(self, data: Any, **kwargs: Any) -> Any:
        """Answer a DataFrame by a DataFrame. An array without names is its one column ``__value__``."""
        raise NotImplementedError

    def _predict_numpy(self, data: Any, **kwargs: Any) -> Any:
        """Answer an array or a dict of arrays by either."""
        raise NotImplementedError

    @classmethod
    def _hooks(cls) -> list[BatchFormat]:
        found = [BatchFormat.PANDAS] if cls._predict_pandas is not Predictor._predict_pandas else []
        found += [BatchFormat.NUMPY] if cls._predict_numpy is not Predictor._predict_numpy else []
        if not found:
            raise NotImplementedError(f"{cls.__name__} has neither _predict_pandas nor _predict_numpy; write one")
        return found

    def _answer(self, prepared: Batch, kwargs: dict[str, Any]) -> Batch:
        # An array without names need not become a DataFrame of one column where there is a hook for it.
        bare = isinstance(prepared, np.ndarray) and BatchFormat.NUMPY in self._hooks()
        if bare or self.batch_format() is BatchFormat.NUMPY:
            return self._predict_numpy(to_numpy(prepared), **kwargs)
        return self._predict_pandas(to_pandas(prepared), **kwargs)

    def __reduce__(self) -> NoReturn:
        raise PredictorNotSerializableException(
            f"a {type(self).__name__} holds a whole model and cannot be pickled: pickle its checkpoint, a reference of"
            f" some hundred bytes,\nand make it there by {type(self).__name__}.from_checkpoint(checkpoint)"
        )


class FunctionPredictor(Predictor):
    """Answers by a function of DataFrames, which is all its state."""

    def __init__(self, function: Callable[..., Any], preprocessor: Any | None = None) -> None:
        """``function`` takes a DataFrame and keyword arguments, and gives a DataFrame."""
        super().__init__(preprocessor)
        self._function = function

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Self:
        """The function is the keyword argument ``function``: a checkpoint has none, but perhaps a preprocessor."""
        function = kwargs.pop("function")
        return cls(function, checkpoint.get_preprocessor(**kwargs))

    def _predict_pandas(self, data: Any, **kwargs: Any) -> Any:
        return self._function(data, **kwargs)


def as_checkpoint(checkpoint: Checkpoint, kind: type[C]) -> C:
    """A checkpoint of any class as one of ``kind``; as the class below that it was made as, if it was.

    Raises:
        FormatError: it is no checkpoint.
    """
    if not isinstance(checkpoint, Checkpoint):
        raise FormatError(
            f"a {type(checkpoint).__name__} is no checkpoint: give one, such as Checkpoint.from_hash(hash)"
        )
    found = checkpoint.typed()
    return found if isinstance(found, kind) else kind.from_checkpoint(found)
