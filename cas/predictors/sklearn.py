"""SklearnPredictor: scikit-learn's estimators and pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.sklearn import SklearnCheckpoint
from cas.predictors.batch import Batch
from cas.predictors.predictor import as_checkpoint
from cas.predictors.preprocessing import named_features
from cas.predictors.tabular import TabularPredictor

__all__ = ["SklearnPredictor"]

_CPU_PARAMETERS = ("n_jobs", "thread_count")


class SklearnPredictor(TabularPredictor):
    """Answers by an estimator's ``predict``."""

    def __init__(self, estimator: Any, preprocessor: Any | None = None) -> None:
        """A fitted estimator, and what batches go through before it."""
        super().__init__(preprocessor)
        self.estimator = estimator

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, *, trusted: Iterable[str] = (), allow_pickle: bool | None = None, **kwargs: Any
    ) -> Self:
        """Load the estimator and the preprocessor.

        Args:
            checkpoint: of any class, with an estimator in it.
            trusted: full names of types that may be made besides those that skops trusts by itself; the refusal of
                one names all that are needed.
            allow_pickle: whether anything in the files may run code; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it holds no estimator.
            RefusedError: it is pickled, or of a type nobody trusts.
        """
        trusted = tuple(trusted)
        estimator = as_checkpoint(checkpoint, SklearnCheckpoint).get_estimator(
            trusted=trusted, allow_pickle=allow_pickle
        )
        preprocessor = checkpoint.get_preprocessor(trusted=trusted, allow_pickle=allow_pickle)
        return cls(estimator, preprocessor, **kwargs)

    def predict(
        self,
        data: Batch,
        feature_columns: list[str] | list[int] | None = None,
        num_estimator_cpus: int | None = None,
        **kwargs: Any,
    ) -> Batch:
        """Answer a batch.

        Args:
            data: the batch.
            feature_columns: which of its columns the model is given, in this order; numbers for an array's.
            num_estimator_cpus: set on the estimator and all that it is made of, where these have ``n_jobs``.
            kwargs: to the estimator's ``predict``.
        """
        if num_estimator_cpus is not None:
            _set_cpus(self.estimator, num_estimator_cpus)
        return super().predict(data, feature_columns=feature_columns, **kwargs)

    def _predict_features(self, features: Any, **kwargs: Any) -> Any:
        if isinstance(features, np.ndarray):
            features = named_features(features, self.estimator)
        return self.estimator.predict(features, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(estimator={type(self.estimator).__name__})"


def _set_cpus(estimator: Any, count: int) -> None:
    names = estimator.get_params(deep=True)
    estimator.set_params(**{name: count for name in names if name.rpartition("__")[2] in _CPU_PARAMETERS})
