"""Preprocessors: scikit-learn's as they are, Ray Data's by their own method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("sklearn")

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from cas.errors import FormatError
from cas.predictors.conversion import to_arrow, to_numpy, to_pandas
from cas.predictors.preprocessing import preprocess

FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [10.0, 20.0, 30.0]})


class Doubling:
    """Ray's kind: a method on batches, that sets columns in what it is given."""

    def transform_batch(self, batch):
        batch["c"] = batch["a"] * 2
        return batch


@pytest.mark.parametrize("form", [pd.DataFrame, to_arrow, lambda frame: to_numpy(frame)])
def test_a_scaler_keeps_columns_and_passes_others_through(form):
    """Columns it was fitted on are scaled under their names; an identifier beside them stays as it is."""
    scaler = StandardScaler().fit(FRAME)
    prepared = to_pandas(preprocess(scaler, form(FRAME.assign(id=["x", "y", "z"]))))
    assert list(prepared.columns) == ["a", "b", "id"]
    np.testing.assert_allclose(prepared[["a", "b"]].to_numpy(), scaler.transform(FRAME))
    assert prepared["id"].tolist() == ["x", "y", "z"]


def test_order_of_columns_is_that_of_the_fit():
    """A batch whose columns stand in another order is scaled the same."""
    scaler = StandardScaler().fit(FRAME)
    swapped = preprocess(scaler, FRAME[["b", "a"]])
    np.testing.assert_allclose(swapped[["a", "b"]].to_numpy(), scaler.transform(FRAME))


def test_an_array_is_transformed_as_it_is():
    """Without names in, without names out, also where the scaler knows names; and no warning about that."""
    scaler = StandardScaler().fit(FRAME)
    np.testing.assert_allclose(preprocess(scaler, FRAME.to_numpy()), scaler.transform(FRAME))
    bare = StandardScaler().fit(FRAME.to_numpy())
    np.testing.assert_allclose(preprocess(bare, FRAME.to_numpy()), bare.transform(FRAME.to_numpy()))


def test_one_fitted_without_names_takes_all_columns():
    """It cannot know which; what it gives keeps the columns' names."""
    scaler = StandardScaler().fit(FRAME.to_numpy())
    prepared = preprocess(scaler, FRAME)
    assert list(prepared.columns) == ["a", "b"]
    np.testing.assert_allclose(prepared.to_numpy(), scaler.transform(FRAME.to_numpy()))


def test_pipelines_and_encoders_name_what_they_make():
    """One-hot columns are dense and carry the transformer's own names; so do components."""
    frame = FRAME.assign(kind=["u", "v", "u"])
    encoder = ColumnTransformer([("kind", OneHotEncoder(), ["kind"]), ("rest", StandardScaler(), ["a", "b"])])
    encoder.fit(frame)
    prepared = preprocess(encoder, frame)
    assert list(prepared.columns) == list(encoder.get_feature_names_out())
    assert prepared["kind__kind_v"].tolist() == [0.0, 1.0, 0.0]
    components = preprocess(make_pipeline(StandardScaler(), PCA(1)).fit(FRAME), FRAME)
    assert list(components.columns) == ["pca0"]


def test_a_transformer_that_gives_frames_is_taken_at_its_word():
    """`set_output(transform="pandas")` needs no naming; functions without names keep the batch's."""
    scaler = StandardScaler().set_output(transform="pandas").fit(FRAME)
    pd.testing.assert_frame_equal(preprocess(scaler, FRAME), scaler.transform(FRAME))
    logged = preprocess(FunctionTransformer(np.log1p).fit(FRAME), FRAME)
    assert list(logged.columns) == ["a", "b"]


def test_a_missing_column_is_named():
    """Rather than scikit-learn's own message about features."""
    with pytest.raises(FormatError, match="'b'"):
        preprocess(StandardScaler().fit(FRAME), FRAME[["a"]])


def test_text_vectorizers_take_a_bare_array():
    """Sparse answers are made dense."""
    texts = np.array(["a cat", "a dog"], object)
    assert preprocess(CountVectorizer().fit(texts), texts).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("batch", [FRAME, to_numpy(FRAME)])
def test_the_callers_batch_is_not_changed(batch):
    """Ray's preprocessors set columns in what they are given: they are given a copy."""
    before = list(batch)
    assert list(preprocess(Doubling(), batch)) == ["a", "b", "c"]
    assert list(batch) == before == ["a", "b"]


def test_nothing_and_no_preprocessor():
    """None leaves the very batch; something without either method is refused by name."""
    assert preprocess(None, FRAME) is FRAME
    with pytest.raises(FormatError, match="int is no preprocessor"):
        preprocess(3, FRAME)
    assert preprocess(StandardScaler().fit(FRAME), pa.table({"a": [2.0], "b": [20.0]})).to_numpy().tolist() == [[0, 0]]
