"""XGBoostPredictor: XGBoost's boosters."""

from __future__ import annotations

from typing import Any

from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.xgboost import XGBoostCheckpoint
from cas.predictors.batch import Batch
from cas.predictors.tabular import BoosterPredictor

__all__ = ["XGBoostPredictor"]


class XGBoostPredictor(BoosterPredictor):
    """Answers by a booster's ``predict``: of a classifier, probabilities."""

    _checkpoint_class = XGBoostCheckpoint

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
