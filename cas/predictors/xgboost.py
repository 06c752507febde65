"""XGBoostPredictor: XGBoost's boosters."""

from __future__ import annotations

from typing import Any, Self

from cas.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.xgboost import XGBoostCheckpoint
from cas.predictors.batch import Batch
from cas.predictors.predictor import as_checkpoint
from cas.predictors.tabular import TabularPredictor

__all__ = ["XGBoostPredictor"]


class XGBoostPredictor(TabularPredictor):
    """Answers by a booster's ``predict``: of a classifier, probabilities."""

    def __init__(self, model: Any, preprocessor: Any | None = None) -> None:
        """An ``xgboost.Booster``, and what batches go through before it."""
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, allow_pickle: bool | None = None, **kwargs: Any) -> Self:
        """Load the booster and the preprocessor.

        Args:
            checkpoint: of any class, with a booster in it.
            allow_pickle: whether a pickled preprocessor or model may be loaded, which runs code; else
                ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it holds no model.
            RefusedError: something in it is pickled, and nobody allowed that.
        """
        model = as_checkpoint(checkpoint, XGBoostCheckpoint).get_model(allow_pickle=allow_pickle)
        return cls(model, checkpoint.get_preprocessor(allow_pickle=allow_pickle), **kwargs)

    def predict(
        self,
        data: Batch,
        feature_columns: list[str] | list[int] | None = None,
        dmatrix_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Batch:
        """Answer a batch.

        Args:
            data: the batch.
            feature_columns: which of its columns the model is given, in this order; numbers for an array's.
            dmatrix_kwargs: to ``xgboost.DMatrix``, such as ``{"missing": -1.0}``.
            kwargs: to the booster's ``predict``, such as ``iteration_range``.
        """
        return super().predict(data, feature_columns=feature_columns, dmatrix_kwargs=dmatrix_kwargs, **kwargs)

    def _predict_features(self, features: Any, dmatrix_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        xgboost = require("xgboost", "xgboost", "an XGBoostPredictor")
        options = dict(dmatrix_kwargs or {})
        if not hasattr(features, "columns"):  # an array's columns are the model's, in the order it learnt them
            options.setdefault("feature_names", self.model.feature_names)
        return self.model.predict(xgboost.DMatrix(features, **options), **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(features={self.model.num_features()})"
