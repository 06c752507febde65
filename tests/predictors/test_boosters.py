"""scikit-learn, XGBoost and LightGBM: predictions equal the model's own, from a bare hash, in every form."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("lightgbm")
pytest.importorskip("xgboost")

import lightgbm
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from cas import Checkpoint
from cas.checkpoint.frameworks.lightgbm import LightGBMCheckpoint
from cas.checkpoint.frameworks.sklearn import SklearnCheckpoint
from cas.checkpoint.frameworks.xgboost import XGBoostCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError
from cas.predictors import LightGBMPredictor, SklearnPredictor, XGBoostPredictor, predictor_of
from cas.predictors.conversion import to_arrow, to_numpy, to_pandas

RANDOM = np.random.default_rng(0)
FEATURES = ["a", "b", "c"]
FRAME = pd.DataFrame(RANDOM.normal(size=(60, 3)), columns=FEATURES)
TARGET = (FRAME["a"] + FRAME["b"] * 2 > 0).astype(int)
SCALER = StandardScaler().fit(FRAME)
SCALED = pd.DataFrame(SCALER.transform(FRAME), columns=FEATURES)


def sklearn_case():
    estimator = LogisticRegression().fit(SCALED, TARGET)
    return SklearnCheckpoint.from_estimator(estimator, preprocessor=SCALER), SklearnPredictor, estimator.predict(SCALED)


def xgboost_case():
    matrix = xgboost.DMatrix(SCALED, label=TARGET)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 5)
    made = XGBoostCheckpoint.from_model(booster, preprocessor=SCALER)
    return made, XGBoostPredictor, booster.predict(xgboost.DMatrix(SCALED))


def lightgbm_case():
    options = {"objective": "binary", "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(options, lightgbm.Dataset(SCALED, TARGET), 5)
    made = LightGBMCheckpoint.from_model(booster, preprocessor=SCALER)
    return made, LightGBMPredictor, booster.predict(SCALED)


CASES = [sklearn_case, xgboost_case, lightgbm_case]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.__name__.removesuffix("_case"))
def case(request):
    return request.param()


@pytest.mark.parametrize("form", [pd.DataFrame, to_arrow, to_numpy, lambda frame: frame.to_numpy()])
def test_predict(case, form):
    """(test_predict) A trained model and its scaler out of a bare hash answer every form as the model itself does."""
    made, kind, expected = case
    checkpoint = Checkpoint.from_hash(Checkpoint.from_bytes(made.to_bytes()).hash)
    predictor = kind.from_checkpoint(checkpoint)
    batch = form(FRAME)
    answer = predictor.predict(batch)
    assert type(answer) is (dict if isinstance(batch, np.ndarray) else type(batch))
    np.testing.assert_allclose(np.asarray(to_numpy(answer)["predictions"]), expected, rtol=1e-6)


def test_repr_and_registry(case):
    """(test_repr) Short, named after the class; and the checkpoint's class tells which predictor is meant."""
    made, kind, _ = case
    text = repr(kind.from_checkpoint(made))
    assert text.startswith(f"{kind.__name__}(")
    assert len(text) < 150
    assert predictor_of(made) is kind


@pytest.mark.parametrize("train", CASES)
def test_predict_feature_columns(train):
    """(test_predict_feature_columns, _pandas) Names choose a table's columns, numbers an array's."""
    made, kind, _ = train()
    predictor = kind.from_checkpoint(made)
    predictor.set_preprocessor(None)
    expected = predictor.predict(SCALED)["predictions"].to_numpy()
    wide = SCALED.assign(zzz=7.0)[["zzz", *FEATURES]]
    np.testing.assert_allclose(predictor.predict(wide, feature_columns=FEATURES)["predictions"], expected)
    by_number = predictor.predict(wide.to_numpy(), feature_columns=[1, 2, 3])
    np.testing.assert_allclose(by_number["predictions"], expected)
    with pytest.raises(FormatError, match="no column 'q'"):
        predictor.predict(wide, feature_columns=["q"])
    with pytest.raises(FormatError, match="numbers"):
        predictor.predict(wide.to_numpy(), feature_columns=["a"])
    with pytest.raises(FormatError, match="column 9"):
        predictor.predict(wide.to_numpy(), feature_columns=[9])


def test_rows_that_are_arrays_are_features():
    """A column of arrays, as Ray Data gives for `from_numpy`, is the table of features."""
    estimator = LinearRegression().fit(SCALED.to_numpy(), TARGET)
    predictor = SklearnPredictor(estimator)
    answer = predictor.predict({"data": SCALED.to_numpy()})
    np.testing.assert_allclose(answer["predictions"], estimator.predict(SCALED.to_numpy()))


def test_models_of_several_numbers_have_a_column_for_each():
    """`predictions_0`, `predictions_1`, … as in Ray."""
    estimator = LinearRegression().fit(SCALED, np.column_stack([TARGET, -TARGET]))
    answer = SklearnPredictor(estimator).predict(SCALED)
    assert list(answer.columns) == ["predictions_0", "predictions_1"]
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 2, "nthread": 1},
                            xgboost.DMatrix(SCALED, label=TARGET), 2)  # fmt: skip
    assert list(XGBoostPredictor(booster).predict(SCALED).columns) == ["predictions_0", "predictions_1"]


def test_predict_set_cpus():
    """(test_predict_set_cpus) `num_estimator_cpus` reaches whatever has `n_jobs`."""
    from sklearn.ensemble import RandomForestClassifier

    predictor = SklearnPredictor(RandomForestClassifier(3, random_state=0).fit(SCALED, TARGET))
    predictor.predict(SCALED, num_estimator_cpus=2)
    assert predictor.estimator.n_jobs == 2


def test_options_reach_the_model(case):
    """XGBoost's `dmatrix_kwargs` and its margin, LightGBM's raw score: what the framework itself gives for them."""
    _, kind, _ = case
    if kind is SklearnPredictor:
        estimator = LinearRegression().fit(SCALED, TARGET)
        with pytest.raises(TypeError):
            SklearnPredictor(estimator).predict(SCALED, no_such_option=1)
    elif kind is XGBoostPredictor:
        booster = case[0].get_model()
        expected = booster.predict(xgboost.DMatrix(SCALED, missing=0.5), output_margin=True)
        answer = kind(booster).predict(SCALED, dmatrix_kwargs={"missing": 0.5}, output_margin=True)
        np.testing.assert_allclose(answer["predictions"], expected)
    else:
        booster = case[0].get_model()
        answer = kind(booster).predict(SCALED, raw_score=True)
        np.testing.assert_allclose(answer["predictions"], booster.predict(SCALED, raw_score=True))


def test_pickled_models_need_permission(tmp_path):
    """(test_predict_no_preprocessor) A plain directory with a pickled estimator works, once it is allowed."""
    import pickle

    (tmp_path / "model").write_bytes(pickle.dumps(LinearRegression().fit(SCALED, TARGET)))
    checkpoint = Checkpoint.from_directory(tmp_path)
    with pytest.raises(RefusedError, match="allow_pickle=True"):
        SklearnPredictor.from_checkpoint(checkpoint)
    predictor = SklearnPredictor.from_checkpoint(checkpoint, allow_pickle=True)
    assert predictor.get_preprocessor() is None
    assert len(predictor.predict(SCALED)) == 60


def test_another_checkpoint_is_refused():
    """A checkpoint without such a model, or something that is none, is said to be so."""
    with pytest.raises(NotFoundError, match="no model"):
        XGBoostPredictor.from_checkpoint(Checkpoint.from_dict({"a": 1}))
    with pytest.raises(FormatError, match="str is no checkpoint"):
        XGBoostPredictor.from_checkpoint("0" * 64)


def test_the_command_line_writes_whole_files_only(tmp_path):
    """A row that the model refuses leaves no file behind; left out on request, its batch is reported by its rows."""
    from click.testing import CliRunner

    from cas.cli.main import cli

    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    broken = FRAME.copy()
    broken.loc[33, "b"] = np.nan
    pq.write_table(pa.Table.from_pandas(broken), source, row_group_size=10)
    made, _, expected = sklearn_case()
    arguments = ["predict", made.hash, str(source), "-o", str(target), "--batch-size", "10"]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, FormatError)
    assert "rows 30 to 39" in str(done.exception)
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", "store"]

    done = CliRunner().invoke(cli, [*arguments, "--max-errored-batches", "1", "--json"])
    assert done.exit_code == 0
    report = json.loads(done.output)
    assert report["rows"] == 50
    assert [(one["first_row"], one["last_row"]) for one in report["errored_batches"]] == [(30, 39)]
    kept = [number for number in range(60) if not 30 <= number < 40]
    assert pq.read_table(target)["predictions"].to_pylist() == expected[kept].tolist()
    assert CliRunner().invoke(cli, [*arguments, "--feature-columns", "a,,b"]).exit_code == 2


@pytest.mark.slow
def test_a_fresh_process_predicts_by_hash_alone(case, tmp_path, store):
    """Where nothing but the store and the hash is known, the command line writes the same predictions."""
    made, _, expected = case
    kept = Checkpoint.from_bytes(made.to_bytes())
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.Table.from_pandas(FRAME.assign(id=range(60))), source)
    command = [sys.executable, "-m", "cas", "predict", kept.hash, source, "-o", target, "--keep-columns", "id",
               "--feature-columns", "a,b,c", "--json", "--batch-size", "25"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "CAS_STORE": str(store)}
    )
    assert json.loads(done.stdout)["rows"] == 60
    written = to_pandas(pq.read_table(target))
    np.testing.assert_allclose(written["predictions"], expected, rtol=1e-6)
    assert written["id"].tolist() == list(range(60))
