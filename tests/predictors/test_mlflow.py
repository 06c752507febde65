"""MLflowPredictor: as MLflow serves a model, by permission; else by the framework alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("mlflow")
pytest.importorskip("sklearn")
pytest.importorskip("xgboost")

import mlflow
import xgboost
from sklearn.linear_model import LinearRegression

from cas import Checkpoint
from cas.checkpoint.frameworks.mlflow import MLflowCheckpoint
from cas.errors import RefusedError
from cas.predictors import MLflowPredictor, predictor_of

pytestmark = [
    pytest.mark.slow,  # importing MLflow takes several seconds
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
TARGET = FRAME["a"] - FRAME["b"]


def stored(folder):
    return Checkpoint.from_hash(MLflowCheckpoint.from_model(folder).hash)


def test_pyfunc_by_permission(tmp_path):
    """A Python model's own columns come back; without permission it is refused."""

    class Tripling(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return pd.DataFrame({"tripled": model_input["a"] * 3})

    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=Tripling(), pip_requirements=[])
    checkpoint = stored(tmp_path / "model")
    assert predictor_of(checkpoint) is MLflowPredictor
    with pytest.raises(RefusedError):
        MLflowPredictor.from_checkpoint(checkpoint)
    predictor = MLflowPredictor.from_checkpoint(checkpoint, allow_pickle=True)
    answer = predictor.predict(FRAME)
    np.testing.assert_allclose(answer["tripled"], FRAME["a"] * 3)


@pytest.mark.parametrize("allow_pickle", [True, False])
def test_frameworks_models(tmp_path, allow_pickle):
    """scikit-learn's estimators by skops and XGBoost's boosters answer the same either way."""
    estimator = LinearRegression().fit(FRAME, TARGET)
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(FRAME, label=TARGET), 3)
    mlflow.sklearn.save_model(estimator, str(tmp_path / "sklearn"), serialization_format="skops", pip_requirements=[])
    mlflow.xgboost.save_model(booster, str(tmp_path / "xgboost"), pip_requirements=[])
    expected = {"sklearn": estimator.predict(FRAME), "xgboost": booster.predict(xgboost.DMatrix(FRAME))}
    for name, values in expected.items():
        predictor = MLflowPredictor.from_checkpoint(stored(tmp_path / name), allow_pickle=allow_pickle)
        np.testing.assert_allclose(predictor.predict(FRAME)["predictions"], values, rtol=1e-6)
        wide = predictor.predict(FRAME.assign(z=1.0), feature_columns=["a", "b"])
        np.testing.assert_allclose(wide["predictions"], values, rtol=1e-6)
