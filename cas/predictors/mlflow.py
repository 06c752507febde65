"""MLflowPredictor: MLflow's models, as MLflow serves them, or by their framework alone where no code may run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Self

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.mlflow import MLflowCheckpoint
from cas.checkpoint.frameworks.mlflow_flavors import PYFUNC
from cas.checkpoint.permission import pickle_is_allowed
from cas.predictors.batch import Batch, check_batch, is_frame
from cas.predictors.conversion import to_numpy
from cas.predictors.predictor import as_checkpoint
from cas.predictors.tabular import TabularPredictor
from cas.predictors.xgboost import XGBoostPredictor

__all__ = ["MLflowPredictor"]


class MLflowPredictor(TabularPredictor):
    """Answers by the ``predict`` of an MLflow model."""

    def __init__(self, model: Any, preprocessor: Any | None = None) -> None:
        """A ``pyfunc`` model or one that a flavor loaded, and what batches go through before it."""
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        flavor: str | None = None,
        *,
        trusted: Iterable[str] = (),
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load the model and the preprocessor.

        Args:
            checkpoint: of any class, with an MLflow model in it.
            flavor: which loads it. By default MLflow's general ``python_function``, which may run code, if that
                is allowed; else the model's own (``sklearn``, ``xgboost``, …).
            trusted: full names of types that may be made besides those that skops trusts by itself.
            allow_pickle: whether code in the model may run; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it holds no such model.
            RefusedError: loading it could run code, and nobody allowed that.
        """
        trusted = tuple(trusted)
        if flavor is None and pickle_is_allowed(allow_pickle):
            flavor = PYFUNC
        made = as_checkpoint(checkpoint, MLflowCheckpoint)
        model = made.get_model(flavor, trusted=trusted, allow_pickle=allow_pickle)
        return cls(model, checkpoint.get_preprocessor(trusted=trusted, allow_pickle=allow_pickle), **kwargs)

    def predict(self, data: Batch, feature_columns: list[str] | list[int] | None = None, **kwargs: Any) -> Batch:
        """Answer a batch.

        Args:
            data: the batch.
            feature_columns: which of its columns the model is given, in this order; numbers for an array's.
            kwargs: to the model's ``predict``, such as ``params`` of a ``pyfunc`` model.
        """
        return super().predict(data, feature_columns=feature_columns, **kwargs)

    def _predict_features(self, features: Any, **kwargs: Any) -> Any:
        xgboost = sys.modules.get("xgboost")
        if xgboost is not None and isinstance(self.model, xgboost.Booster):
            return XGBoostPredictor(self.model)._predict_features(features, **kwargs)
        answer = self.model.predict(features, **kwargs)
        if not (is_frame(answer) or isinstance(answer, dict)):
            return answer
        check_batch(answer)
        return to_numpy(answer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={type(self.model).__name__})"
