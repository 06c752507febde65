"""BatchPredictor on Ray Data, beside the same in one process. Names in parentheses are those of Ray AIR's tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("ray")
pytest.importorskip("sklearn")
pytest.importorskip("xgboost")

import ray
import ray.data
import xgboost
from ray.data.preprocessor import Preprocessor
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from cas import Checkpoint
from cas.checkpoint.frameworks.xgboost import XGBoostCheckpoint
from cas.errors import RefusedError
from cas.predictors import BatchFormat, BatchPredictor, Predictor, SklearnPredictor, XGBoostPredictor

pytestmark = [
    pytest.mark.slow,
    # Ray 2.60 on Python 3.11 and pandas 3: its own deprecations, and sockets that it closes when it feels like it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning",
                               "ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip


class Multiplying(Preprocessor):
    """Ray's kind, on DataFrames."""

    _is_fittable = False

    def __init__(self, multiplier=2):
        super().__init__()
        self.multiplier = multiplier

    def _transform_pandas(self, df):
        return df * self.multiplier


class MultiplyingArrays(Multiplying):
    """Ray's kind, on arrays as well."""

    def _transform_numpy(self, data):
        return {name: array * self.multiplier for name, array in data.items()}


class AddingColumn(Multiplying):
    def _transform_pandas(self, df):
        df["c"] = df["a"]
        return super()._transform_pandas(df)


class Scaling(Predictor):
    def __init__(self, factor=1.0, preprocessor=None, use_gpu=False):
        super().__init__(preprocessor)
        self.factor, self.use_gpu = factor, use_gpu

    @classmethod
    def from_checkpoint(cls, checkpoint, use_gpu=False, **kwargs):
        found = checkpoint.get_preprocessor(allow_pickle=True)
        return cls(checkpoint.to_dict()["factor"], found, use_gpu=use_gpu)

    def _predict_pandas(self, data, **kwargs):
        if self.use_gpu and "allow_gpu" not in kwargs:
            raise ValueError("this predictor does not run on a GPU")
        return data * self.factor


class ScalingArrays(Scaling):
    def _predict_numpy(self, data, **kwargs):
        return {name: array * self.factor for name, array in data.items()}

    @classmethod
    def preferred_batch_format(cls):
        return BatchFormat.NUMPY


class CountingLoads(Scaling):
    """Leaves a file for every time that it was made."""

    @classmethod
    def from_checkpoint(cls, checkpoint, folder=None, **kwargs):
        (Path(folder) / f"{os.getpid()}-{len(os.listdir(folder))}").touch()
        return super().from_checkpoint(checkpoint)


class Refusing(Scaling):
    def _predict_pandas(self, data, **kwargs):
        if (data["a"] == 7).any():
            raise ValueError("seven is not allowed")
        return data


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import this module
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("ray-home")))
        patch.setenv("CAS_ALLOW_PICKLE", "1")
        ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    """Ray's own preprocessors are pickled."""
    monkeypatch.setenv("CAS_ALLOW_PICKLE", "1")


def checkpoint(preprocessor=None):
    made = Checkpoint.from_dict({"factor": 2.0})
    if preprocessor is not None:
        made.set_preprocessor(preprocessor)
    return made


def test_batch_prediction():
    """(test_batch_prediction, test_repr) [0, 4, 8, 12], lazily."""
    predictor = BatchPredictor.from_checkpoint(checkpoint(Multiplying()), Scaling)
    answers = predictor.predict(ray.data.range(4))
    assert isinstance(answers, ray.data.Dataset)
    assert answers.to_pandas().to_numpy().squeeze().tolist() == [0.0, 4.0, 8.0, 12.0]
    assert repr(predictor).startswith("BatchPredictor(")
    assert len(repr(predictor)) < 150


@pytest.mark.parametrize(
    ("preprocessor", "kind", "source"),
    [
        (Multiplying, Scaling, "arrow"),
        (MultiplyingArrays, Scaling, "pandas"),
        (Multiplying, ScalingArrays, "pandas"),
        (MultiplyingArrays, ScalingArrays, "arrow"),
    ],
)
def test_batch_prediction_various_combination(preprocessor, kind, source):
    """(test_batch_prediction_various_combination) pandas and NumPy hooks on pandas and Arrow blocks."""
    frame = pd.DataFrame({"x": [1, 2, 3]})
    data = ray.data.from_pandas(frame) if source == "pandas" else ray.data.from_arrow(pa.Table.from_pandas(frame))
    answers = BatchPredictor(checkpoint(preprocessor()), kind).predict(data)
    assert answers.to_pandas().to_numpy().squeeze().tolist() == [4.0, 8.0, 12.0]


def test_batch_prediction_fs(tmp_path):
    """(test_batch_prediction_fs) Several workers, order kept, and each makes its model once."""
    rows = [float(number) for number in range(128)]
    data = ray.data.from_pandas(pd.DataFrame({"x": rows})).repartition(8)
    predictor = BatchPredictor(checkpoint(Multiplying()), CountingLoads, folder=str(tmp_path))
    answers = predictor.predict(data, min_scoring_workers=2, batch_size=4, num_cpus_per_worker=0.5)
    assert answers.to_pandas()["x"].tolist() == [4 * row for row in rows]
    loads = [name.partition("-")[0] for name in os.listdir(tmp_path) if name[0].isdigit()]
    assert len(loads) == len(set(loads)) <= 2


@pytest.mark.parametrize("kind", [Scaling, ScalingArrays])
def test_batch_prediction_columns(kind):
    """(test_batch_prediction_feature_cols, _keep_cols) Features chosen; kept columns are the preprocessed ones."""
    data = ray.data.from_pandas(pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]}))
    found = BatchPredictor(checkpoint(Multiplying()), kind).predict(data, feature_columns=["a"], keep_columns=["b"])
    frame = found.to_pandas()
    assert set(frame.columns) == {"a", "b"}
    assert frame["a"].tolist() == [4.0, 8.0, 12.0]
    assert frame["b"].tolist() == [8, 10, 12]


def test_batch_prediction_feature_cols_after_preprocess():
    """(test_batch_prediction_feature_cols_after_preprocess) A column that the preprocessor makes can be chosen."""
    data = ray.data.from_pandas(pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]}))
    found = BatchPredictor(checkpoint(AddingColumn()), Scaling).predict(data, feature_columns=["c"])
    assert found.to_pandas().to_numpy().squeeze().tolist() == [4.0, 8.0, 12.0]


def test_batch_prediction_from_pandas_udf():
    """(test_batch_prediction_from_pandas_udf) A function, and its keyword arguments."""

    def check(frame, all_true=False):
        return pd.DataFrame({"bool": [True] * len(frame) if all_true else frame["a"] == frame["b"]})

    data = ray.data.from_pandas(pd.DataFrame({"a": [1, 2, 3], "b": [1, 5, 6]}))
    predictor = BatchPredictor.from_pandas_udf(check)
    assert [row["bool"] for row in predictor.predict(data).take()] == [True, False, False]
    assert [row["bool"] for row in predictor.predict(data, all_true=True).take()] == [True, True, True]


def test_get_and_set_preprocessor():
    """(test_get_and_set_preprocessor) A preprocessor that is set takes the checkpoint's place."""
    predictor = BatchPredictor(checkpoint(Multiplying(1)), Scaling)
    assert predictor.get_preprocessor().multiplier == 1
    other = Multiplying(2)
    predictor.set_preprocessor(other)
    assert predictor.get_preprocessor() is other
    assert predictor.predict(ray.data.range(3)).to_pandas()["id"].tolist() == [0.0, 4.0, 8.0]


@pytest.mark.parametrize("separate", [True, False])
def test_separate_gpu_stage(separate):
    """(test_separate_gpu_stage) Before the GPU workers or in them, the greatest value is 36."""
    predictor = BatchPredictor(checkpoint(Multiplying()), Scaling)
    answers = predictor.predict(
        ray.data.range(10), num_gpus_per_worker=1, separate_gpu_stage=separate, allow_gpu=True
    ).materialize()
    assert answers.to_pandas()["id"].max() == 36.0
    assert ("Multiplying" in answers.stats()) == separate


def test_automatic_enable_gpu_from_num_gpus_per_worker():
    """(test_automatic_enable_gpu_from_num_gpus_per_worker) The predictor is told to use what it was given."""
    answers = BatchPredictor(checkpoint(), Scaling).predict(ray.data.range(4), num_gpus_per_worker=1)
    with pytest.raises(Exception, match="does not run on a GPU"):
        answers.materialize()


def test_the_permission_to_unpickle_travels(monkeypatch):
    """It is the caller's: a pickled estimator is loaded in the workers exactly if it may be here."""
    estimator = LinearRegression().fit(np.arange(6.0).reshape(3, 2), np.arange(3.0))
    predictor = BatchPredictor(Checkpoint.from_dict({"model": estimator}), SklearnPredictor)
    data = ray.data.from_pandas(pd.DataFrame({"a": [0.0, 2.0], "b": [1.0, 3.0]}))
    np.testing.assert_allclose(predictor.predict(data).to_pandas()["predictions"], [0.0, 1.0], atol=1e-12)
    monkeypatch.setenv("CAS_ALLOW_PICKLE", "0")
    with pytest.raises(Exception, match="allow_pickle=True"):
        predictor.predict(data).materialize()


def test_large_predictor_keyword_travels_once():
    """(test_batch_prediction_large_predictor_kwarg) 200 MB of keyword arguments: far above a task's limit."""
    big = np.zeros(200_000_000, np.uint8)
    answers = BatchPredictor(checkpoint(), Scaling, unused=big).predict(ray.data.range(4))
    assert answers.to_pandas()["id"].tolist() == [0.0, 2.0, 4.0, 6.0]


def test_pipelined_prediction_says_what_to_use():
    """(test_separate_gpu_stage_pipelined) Ray has no DatasetPipeline any more."""
    with pytest.raises(RefusedError, match=r"use predict\(\)"):
        BatchPredictor(checkpoint(), Scaling).predict_pipelined(ray.data.range(4), blocks_per_window=2)


def test_failing_batches_show_their_rows_or_are_left_out():
    """The error shows rows of the batch; with a limit, batches that fail are left out and reported."""
    data = ray.data.from_pandas(pd.DataFrame({"a": range(12)}))
    predictor = BatchPredictor(checkpoint(), Refusing)
    with pytest.raises(
        Exception, match=r"4 rows from \{'a': 4\} to \{'a': 7\} could not be predicted: ValueError: seven"
    ):
        predictor.predict(data, batch_size=4).materialize()
    kept = predictor.predict(data, batch_size=4, max_errored_batches=1).to_pandas()
    assert kept["a"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    (failed,) = predictor.errored_batches
    assert "seven is not allowed" in failed.reason


def test_both_engines_give_equal_answers():
    """A trained model and its scaler, by hash alone: Ray Data and this process agree to the last bit, row by row."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(1000, 4)), columns=list("abcd")).assign(key=range(1000))
    scaler = StandardScaler().fit(frame[list("abcd")])
    scaled = pd.DataFrame(scaler.transform(frame[list("abcd")]), columns=list("abcd"))
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(scaled, label=scaled["a"] * scaled["b"]), 10)
    name = XGBoostCheckpoint.from_model(booster, preprocessor=scaler).hash
    predictor = BatchPredictor.from_checkpoint(Checkpoint.from_hash(name), XGBoostPredictor)
    options = {"feature_columns": list("abcd"), "keep_columns": ["key"], "batch_size": 128}

    here = predictor.predict(frame, **options)
    data = ray.data.from_pandas(frame).repartition(5)
    there = predictor.predict(data, min_scoring_workers=2, num_cpus_per_worker=0.5, **options).to_pandas()

    assert list(there.columns) == list(here.columns) == ["predictions", "key"]
    assert there["key"].tolist() == list(range(1000))
    np.testing.assert_array_equal(there["predictions"].to_numpy(), here["predictions"].to_numpy())
