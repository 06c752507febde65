"""LightGBMPredictor: LightGBM's boosters."""

from __future__ import annotations

from typing import Any

from cas.checkpoint.frameworks.lightgbm import LightGBMCheckpoint
from cas.predictors.batch import Batch
from cas.predictors.tabular import BoosterPredictor

__all__ = ["LightGBMPredictor"]


class LightGBMPredictor(BoosterPredictor):
    """Answers by a booster's ``predict``: of a classifier, probabilities."""

    _checkpoint_class = LightGBMCheckpoint

    def predict(self, data: Batch, feature_columns: list[str] | list[int] | None = None, **kwargs: Any) -> Batch:
        """Answer a batch.

        Args:
            data: the batch.
            feature_columns: which of its columns the model is given, in this order; numbers for an array's.
            kwargs: to the booster's ``predict``, such as ``num_iteration``.
        """
        return super().predict(data, feature_columns=feature_columns, **kwargs)

    def _predict_features(self, features: Any, **kwargs: Any) -> Any:
        return self.model.predict(features, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(features={self.model.num_feature()})"
